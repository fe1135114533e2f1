# shellcheck shell=sh
case $1 in
install | upgrade) remember_sockets ;;
abort-upgrade) ;;
*)
	echo "preinst: unknown argument $1" >&2
	exit 1
	;;
esac
