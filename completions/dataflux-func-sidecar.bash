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
		_dataflux_func_sidecar_offer -W 'serve check configure sign version help'
		return
	fi
	case $previous in
	--config)
		compopt -o filenames 2>/dev/null
		_dataflux_func_sidecar_offer -f
		return
		;;
	--state-dir | --unit-dir)
		compopt -o filenames 2>/dev/null
		_dataflux_func_sidecar_offer -d
		return
		;;
	--user)
		_dataflux_func_sidecar_offer -u
		return
		;;
	--bind) return ;;
	esac
	case ${COMP_WORDS[1]} in
	serve) _dataflux_func_sidecar_offer -W '--bind --config --state-dir --user --help' ;;
	check) _dataflux_func_sidecar_offer -W '--config --unit-dir --user --help' ;;
	configure)
		_dataflux_func_sidecar_offer -W '--bind --config --print-summary --secret-key-stdin --unit-dir --help'
		;;
	sign) _dataflux_func_sidecar_offer -W '--config --help GET POST DELETE' ;;
	version) _dataflux_func_sidecar_offer -W '--help' ;;
	esac
}

# Fills COMPREPLY with what compgen makes of its arguments and begins with the current word.
_dataflux_func_sidecar_offer() {
	mapfile -t COMPREPLY < <(compgen "$@" -- "$current")
}

complete -F _dataflux_func_sidecar dataflux-func-sidecar
