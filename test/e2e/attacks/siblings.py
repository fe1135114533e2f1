"""Gives the executor children that it did not start, by CLONE_PARENT. Some end at once, some stay."""

import ctypes
import os
import platform
import signal
import time

CLONE_PARENT = 0x8000
SYS_CLONE = 56 if platform.machine() == "x86_64" else 220
libc = ctypes.CDLL(None, use_errno=True)
given = 0
for number in range(500):
    pid = libc.syscall(SYS_CLONE, CLONE_PARENT | signal.SIGUSR1, 0, 0, 0, 0)
    if pid == 0:
        if number % 50 == 0:
            time.sleep(5)
        os._exit(number % 256)
    given += pid > 0
print("gave", given)
