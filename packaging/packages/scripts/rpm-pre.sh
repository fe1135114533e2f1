# shellcheck shell=sh
remember_sockets
