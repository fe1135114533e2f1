# Completes the command line of dataflux-func-sidecar in bash. A test compares the commands and
# options with --help. It belongs in /usr/share/bash-completion/completions/dataflux-func-sidecar;
# to try it:
#   source packaging/completions/dataflux-func-sidecar.bash

_dataflux_func_sidecar() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	# bash has split --config=FILE into three words.
	if [[ $current == = ]]; then
		current=
	elif [[ $previous == = ]]; then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	COMPREPLY=()
	if ((COMP_CWORD == 1)) || [[ ${COMP_WORDS[1]} == help ]]; then
		_dataflux_func_sidecar_offer -W 'serve reload shell jobs logs wait cancel callbacks check configure sign version help'
		return
	fi
	case $previous in
	--config | --secret-key-file | --ca)
		compopt -o filenames 2>/dev/null
		_dataflux_func_sidecar_offer -f
		return
		;;
	--state-dir | --unit-dir | --workdir)
		compopt -o filenames 2>/dev/null
		_dataflux_func_sidecar_offer -d
		return
		;;
	--user | --role-user)
		_dataflux_func_sidecar_offer -u
		return
		;;
	--drop-key)
		_dataflux_func_sidecar_offer -W 'first last'
		return
		;;
	--bind | --metrics | --url | --env | --timeout | --callback | --job-id | --since) return ;;
	esac
	local remote='--url --config --secret-key-file --ca --quiet --help'
	case ${COMP_WORDS[1]} in
	jobs | logs | wait | cancel)
		if [[ $current != -* ]]; then
			_dataflux_func_sidecar_offer -W "$(_dataflux_func_sidecar_ids)"
			return
		fi
		;;
	callbacks)
		if [[ $current != -* ]]; then
			local offered='retry drop'
			[[ " ${COMP_WORDS[*]:2:COMP_CWORD-2} " != *' '@(retry|drop)' '* ]] ||
				offered=$(_dataflux_func_sidecar_ids)
			_dataflux_func_sidecar_offer -W "$offered"
			return
		fi
		;;
	esac
	case ${COMP_WORDS[1]} in
	serve) _dataflux_func_sidecar_offer -W '--bind --config --metrics --role-user --state-dir --user --help' ;;
	reload) _dataflux_func_sidecar_offer -W '--config --state-dir --help' ;;
	shell)
		_dataflux_func_sidecar_offer -W "$remote --json --env --workdir --timeout --callback --job-id --no-wait --follow --cancel-on-interrupt"
		;;
	jobs) _dataflux_func_sidecar_offer -W "$remote --json --follow --running --since" ;;
	logs) _dataflux_func_sidecar_offer -W "$remote --follow" ;;
	wait) _dataflux_func_sidecar_offer -W "$remote" ;;
	cancel | callbacks) _dataflux_func_sidecar_offer -W "$remote --json" ;;
	check)
		_dataflux_func_sidecar_offer -W '--config --config-only --json --monitoring --offline --role-user --state-dir --unit-dir --user --help'
		;;
	configure)
		_dataflux_func_sidecar_offer -W '--add-key --apply --bind --config --drop-key --print-summary --secret-key-stdin --unit-dir --help'
		;;
	sign) _dataflux_func_sidecar_offer -W '--config --secret-key-file --help GET POST DELETE' ;;
	version) _dataflux_func_sidecar_offer -W '--ca --json --url --help' ;;
	esac
}

# Prints the ids of the jobs or callbacks that the command is for, of the Sidecar that the line
# names. It prints nothing if that one does not answer within 2 s, or the user cannot read the key.
_dataflux_func_sidecar_ids() {
	local -a words options=()
	local at list=jobs
	read -ra words <<<"$COMP_LINE"
	for ((at = 2; at < ${#words[@]}; at++)); do
		case ${words[at]} in
		--url=* | --config=* | --secret-key-file=?[!-]* | --ca=*) options+=("${words[at]}") ;;
		--url | --config | --secret-key-file | --ca)
			[[ ${words[at + 1]-} == - ]] || options+=("${words[at]}" "${words[at + 1]-}")
			;;
		esac
	done
	case ${words[1]} in
	wait | cancel) options+=(--running) ;;
	callbacks) list=callbacks ;;
	esac
	timeout 2 "${words[0]}" $list --quiet "${options[@]}" 2>/dev/null </dev/null
}

# Fills COMPREPLY with the words that compgen produces for the current word.
_dataflux_func_sidecar_offer() {
	mapfile -t COMPREPLY < <(compgen "$@" -- "$current")
}

complete -F _dataflux_func_sidecar dataflux-func-sidecar
