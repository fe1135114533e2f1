# Completes the command line of dataflux-func-sidecar in bash. A test holds the commands and options here
# against --help. It belongs in /usr/share/bash-completion/completions/dataflux-func-sidecar; to try it:
#   source completions/dataflux-func-sidecar.bash

_dataflux_func_sidecar() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	# bash has taken --config=FILE apart into three words.
	if [[ $current == = ]]; then
		current=
	elif [[ $previous == = ]]; then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_dataflux_func_sidecar_offer -W 'serve shell jobs cancel check configure sign version help'
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
	--user)
		_dataflux_func_sidecar_offer -u
		return
		;;
	--bind | --metrics | --url | --env | --timeout | --callback | --job-id) return ;;
	esac
	local remote='--url --config --secret-key-file --ca --json --help'
	case ${COMP_WORDS[1]} in
	serve) _dataflux_func_sidecar_offer -W '--bind --config --metrics --state-dir --user --help' ;;
	shell)
		_dataflux_func_sidecar_offer -W "$remote --env --workdir --timeout --callback --job-id --no-wait --follow --cancel-on-interrupt"
		;;
	jobs) _dataflux_func_sidecar_offer -W "$remote --follow" ;;
	cancel) _dataflux_func_sidecar_offer -W "$remote" ;;
	check)
		_dataflux_func_sidecar_offer -W '--config --config-only --json --offline --state-dir --unit-dir --user --help'
		;;
	configure)
		_dataflux_func_sidecar_offer -W '--bind --config --print-summary --secret-key-stdin --unit-dir --help'
		;;
	sign) _dataflux_func_sidecar_offer -W '--config --help GET POST DELETE' ;;
	version) _dataflux_func_sidecar_offer -W '--ca --json --url --help' ;;
	esac
}

# Fills COMPREPLY with what compgen makes of its arguments and begins with the current word.
_dataflux_func_sidecar_offer() {
	mapfile -t COMPREPLY < <(compgen "$@" -- "$current")
}

complete -F _dataflux_func_sidecar dataflux-func-sidecar
