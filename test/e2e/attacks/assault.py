"""Attacks the executor without a pause until the file END exists: in the moment of an execve its ids change.

assault.py EXECUTOR JOBS END
    process id of the executor, the folder with the cgroups of the commands

Prints each attempt that was allowed, and at the end how many there were.
"""

import os
import resource
import signal
import sys

EXECUTOR, JOBS, END = int(sys.argv[1]), sys.argv[2], sys.argv[3]
pidfd = os.pidfd_open(EXECUTOR)


def read(name):
    with open("/proc/%d/%s" % (EXECUTOR, name), "rb") as file:
        file.read(1)


def write(path, text):
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text)
    finally:
        os.close(file)


attempts = {
    "SIGKILL": lambda: os.kill(EXECUTOR, signal.SIGKILL),
    "SIGSTOP": lambda: os.kill(EXECUTOR, signal.SIGSTOP),
    "SIGTERM": lambda: os.kill(EXECUTOR, signal.SIGTERM),
    "SIGHUP": lambda: os.kill(EXECUTOR, signal.SIGHUP),
    "SIGKILL by pidfd": lambda: signal.pidfd_send_signal(pidfd, signal.SIGKILL),
    "prlimit": lambda: resource.prlimit(EXECUTOR, resource.RLIMIT_NOFILE, (3, 3)),
    "mem": lambda: read("mem"),
    "environ": lambda: read("environ"),
    "maps": lambda: read("maps"),
    "descriptors": lambda: os.listdir("/proc/%d/fd" % EXECUTOR),
    "oom_score_adj": lambda: write("/proc/%d/oom_score_adj" % EXECUTOR, b"1000"),
    "freeze": lambda: write(JOBS + "/cgroup.freeze", b"1"),
}
# The signals that matter most are tried most often.
often = ["SIGKILL", "SIGSTOP", "SIGKILL by pidfd"]
count = 0
open("%s-begun-%d" % (END, os.getpid()), "w").close()
while not os.path.exists(END):
    for name in list(attempts) + often * 20:
        try:
            attempts[name]()
            print("%s: allowed" % name, flush=True)
        except OSError:
            pass
        count += 1
print("attempts", count)
