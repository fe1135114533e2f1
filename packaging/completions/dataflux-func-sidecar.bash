# Completes the command line of dataflux-func-sidecar in bash. A test compares the commands and
# options with --help. It belongs in /usr/share/bash-completion/completions/dataflux-func-sidecar;
# to try it:
#   source packaging/completions/dataflux-func-sidecar.bash

_dataflux_func_sidecar() {
	# bash splits KEY:ID, URLs and --config=FILE at the characters of COMP_WORDBREAKS, and replaces
	# only what comes after the last of them.
	local line=${COMP_LINE:0:COMP_POINT} at=$COMP_CWORD current=${COMP_WORDS[COMP_CWORD]}
	while ((at > 1)) && [[ ${COMP_WORDS[at - 1]: -1}$current == *[:=]* ]] &&
		[[ $line == *"${COMP_WORDS[at - 1]}$current" ]]; do
		current=${COMP_WORDS[--at]}$current
	done
	local word=$current previous=${COMP_WORDS[at - 1]}
	if [[ $current == --*=* ]]; then
		previous=${current%%=*} current=${current#*=}
	fi
	_dataflux_func_sidecar_complete
	local breaks=${COMP_WORDBREAKS//[^:=]/} kept=
	[[ -z $breaks || $word != *[$breaks]* ]] || kept=${word%"${word##*["$breaks"]}"}
	for at in "${!COMPREPLY[@]}"; do
		COMPREPLY[at]=${word%"$current"}${COMPREPLY[at]}
		COMPREPLY[at]=${COMPREPLY[at]#"$kept"}
	done
}

# Fills COMPREPLY with what can take the place of $current, of the word number $at.
_dataflux_func_sidecar_complete() {
	COMPREPLY=()
	if ((at == 1)) || [[ ${COMP_WORDS[1]} == help ]]; then
		_dataflux_func_sidecar_offer -W 'serve reload shell run actions jobs logs wait cancel kill callbacks check configure keys sign verify version help'
		return
	fi
	case $previous in
	--config | --secret-key-file | --ca | --script | --interpreter | --allowed-signers)
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
	--key)
		_dataflux_func_sidecar_offer -W "$(_dataflux_func_sidecar_ask keys)"
		return
		;;
	--rotate-key | --drop-old-secret)
		_dataflux_func_sidecar_offer -W "$(_dataflux_func_sidecar_named_keys)"
		return
		;;
	--drop-key)
		_dataflux_func_sidecar_offer -W "first last $(_dataflux_func_sidecar_named_keys)"
		return
		;;
	--jobs)
		_dataflux_func_sidecar_offer -W 'own all'
		return
		;;
	--signal)
		_dataflux_func_sidecar_offer -W 'TERM INT HUP QUIT USR1 USR2 KILL'
		return
		;;
	--secret-env)
		_dataflux_func_sidecar_offer -e
		return
		;;
	--bind | --metrics | --url | --env | --label | --timeout | --callback | --job-id | --since) return ;;
	--start-within | --grace | --traceparent) return ;;
	--add-key | --actions | --from | --expires | --public-key) [[ $current == -* ]] || return ;;
	esac
	local remote='--url --config --key --secret-key-file --ca --quiet --help'
	local call="$remote --json --label --timeout --callback --job-id --no-wait --follow --cancel-on-interrupt --stdin --start-within --secret-env --traceparent"
	case ${COMP_WORDS[1]} in
	jobs | logs | wait | cancel | kill)
		if [[ $current != -* ]]; then
			_dataflux_func_sidecar_offer -W "$(_dataflux_func_sidecar_ids)"
			return
		fi
		;;
	run)
		if [[ $current != -* ]]; then
			_dataflux_func_sidecar_offer -W "$(_dataflux_func_sidecar_ask actions)"
			return
		fi
		;;
	callbacks)
		if [[ $current != -* ]]; then
			local offered='retry drop'
			[[ " ${COMP_WORDS[*]:2:at-2} " != *' '@(retry|drop)' '* ]] ||
				offered=$(_dataflux_func_sidecar_ids)
			_dataflux_func_sidecar_offer -W "$offered"
			return
		fi
		;;
	esac
	case ${COMP_WORDS[1]} in
	serve) _dataflux_func_sidecar_offer -W '--bind --config --metrics --role-user --state-dir --user --help' ;;
	reload) _dataflux_func_sidecar_offer -W '--config --state-dir --help' ;;
	shell) _dataflux_func_sidecar_offer -W "$call --env --workdir --script --interpreter --signal --grace" ;;
	run) _dataflux_func_sidecar_offer -W "$call" ;;
	actions) _dataflux_func_sidecar_offer -W "$remote --json" ;;
	jobs) _dataflux_func_sidecar_offer -W "$remote --json --follow --running --since" ;;
	logs) _dataflux_func_sidecar_offer -W "$remote --follow" ;;
	wait) _dataflux_func_sidecar_offer -W "$remote" ;;
	cancel | callbacks) _dataflux_func_sidecar_offer -W "$remote --json" ;;
	kill) _dataflux_func_sidecar_offer -W "$remote --json --signal --shell-only" ;;
	check)
		_dataflux_func_sidecar_offer -W '--config --config-only --json --monitoring --offline --role-user --state-dir --unit-dir --user --help'
		;;
	configure)
		_dataflux_func_sidecar_offer -W '--actions --add-key --apply --bind --config --drop-key --drop-old-secret --expires --from --jobs --print-summary --public-key --rotate-key --secret-key-stdin --unit-dir --help'
		;;
	keys) _dataflux_func_sidecar_offer -W '--config --json --quiet --help new' ;;
	sign) _dataflux_func_sidecar_offer -W '--config --key --secret-key-file --help GET POST DELETE' ;;
	verify)
		compopt -o filenames 2>/dev/null
		if [[ $current == -* ]]; then
			_dataflux_func_sidecar_offer -W '--allowed-signers --help'
		else
			_dataflux_func_sidecar_offer -d
		fi
		;;
	version) _dataflux_func_sidecar_offer -W '--ca --json --url --help' ;;
	esac
}

# Prints the ids of the jobs or callbacks that the command is for.
_dataflux_func_sidecar_ids() {
	case ${COMP_WORDS[1]} in
	wait | cancel | kill) _dataflux_func_sidecar_ask jobs --running ;;
	callbacks) _dataflux_func_sidecar_ask callbacks ;;
	*) _dataflux_func_sidecar_ask jobs ;;
	esac
}

# Prints the names of the keys that have a table of their own.
_dataflux_func_sidecar_named_keys() {
	_dataflux_func_sidecar_ask keys | grep -vx default
}

# Prints what a command lists with --quiet, of the Sidecar or the configuration that the line names.
# It prints nothing if a Sidecar does not answer within 2 s, or the user cannot read the key. Names
# with other characters are no names of a Sidecar, and compgen -W would execute a $(command) in
# them.
_dataflux_func_sidecar_ask() {
	local -a words options=()
	local at taken='--config'
	[[ $1 == keys ]] || taken='--url --config --key --secret-key-file --ca'
	read -ra words <<<"$COMP_LINE"
	for ((at = 2; at < ${#words[@]}; at++)); do
		[[ " $taken " == *" ${words[at]%%=*} "* ]] || continue
		case ${words[at]} in
		*=?*) [[ ${words[at]#*=} == - ]] || options+=("${words[at]}") ;;
		*=) ;;
		*) [[ ${words[at + 1]--} == - ]] || options+=("${words[at]}" "${words[at + 1]}") ;;
		esac
	done
	timeout 2 "${words[0]}" "$@" --quiet "${options[@]}" 2>/dev/null </dev/null |
		LC_ALL=C grep -xE '[A-Za-z0-9_:-]+'
}

# Fills COMPREPLY with the words that compgen produces for the current word.
_dataflux_func_sidecar_offer() {
	mapfile -t COMPREPLY < <(compgen "$@" -- "$current")
}

complete -F _dataflux_func_sidecar dataflux-func-sidecar
