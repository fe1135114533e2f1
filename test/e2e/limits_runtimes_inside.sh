#!/bin/sh
# Runs inside the machine of limits_runtimes_test.go, as a service.
cd /root || exit 1
# shellcheck source-path=SCRIPTDIR source=inside_functions.sh
. /selftest/functions
trap 'echo "the end of the journal:"; journal | tail -n 60' EXIT

/root/release/install.sh --bind 127.0.0.1:8099 2>&1
result install $?
configure 'LIMIT_MEMORY = 4294967296' 'LIMIT_PROCESSES = 500'
systemctl reload $service
result reload $?

printf 'versions: %s\n' "$(call 'node --version; java -version')"

# What they reserve does not count. As a limit of a process, the same number of bytes ends both:
# WebAssembly, with which fetch reads answers, reserves 10 GiB, and Java its largest heap.
# shellcheck disable=SC2016 # a string of JavaScript
node="node -e 'fetch(\`http://127.0.0.1:8099/\`).then(() => console.log(6*7))'"
java="java -Xmx2g -version 2>&1 | head -n 1"
check 'node, as a process' "$(call "ulimit -v 4194304; $node")" '*"stdout":""*undici*"exitCode":1,*'
check 'java, as a process' "$(call "ulimit -v 1048576; $java")" '*"stdout":"Error occurred during initialization of VM*'
check 'node' "$(call "$node")" '*"stdout":"42?n"*"oomKilled":false,"limitsBy":"cgroup"*'
check 'java' "$(call "$java" ',"limits":{"memory":1073741824}')" '*"stdout":"openjdk version *"oomKilled":false,"limitsBy":"cgroup"*'

# What they use counts.
grow="node -e 'let a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))'"
check 'node above it' "$(call "$grow" ',"limits":{"memory":268435456}')" '*"oomKilled":true,"limitsBy":"cgroup"*'
check 'the daemon answers' "$(call 'echo again')" '*again?n*'
