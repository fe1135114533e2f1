"""Declares its parent as its tracer, and stops. With exec in the shell the parent is the executor."""

import ctypes
import os
import signal
import time

PTRACE_TRACEME = 0
if ctypes.CDLL(None).ptrace(PTRACE_TRACEME, 0, None, None) == 0:
    print("traced by", os.getppid(), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(300)
