# shellcheck shell=sh
# 0: removed. Configuration, state and user stay: rpm has no other word for "and forget everything".
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
