"""Asks the kernel to send a signal to another process when a pipe can be read. The kernel checks the
permission only when it sends the signal."""

import fcntl
import os
import signal
import sys

F_SETSIG, F_SETOWN = 10, 8
for pid in sys.argv[1:]:
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT):
        r, w = os.pipe()
        fcntl.fcntl(r, F_SETOWN, int(pid))
        fcntl.fcntl(r, F_SETSIG, number)
        fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(w, b"x")
print("asked")
