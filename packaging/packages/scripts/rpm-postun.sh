# shellcheck shell=sh
# 0: removal. Configuration, state and users stay: rpm has no equivalent of purge.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
