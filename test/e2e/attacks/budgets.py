"""Uses up budgets that the kernel counts by user: inotify instances and memory of pipes. Lasts 60 s."""

import ctypes
import errno
import fcntl
import os
import sys
import time

F_SETPIPE_SZ = 1031
libc = ctypes.CDLL(None, use_errno=True)


def instances():
    count = 0
    while libc.inotify_init() >= 0:
        count += 1
    return count, errno.errorcode[ctypes.get_errno()]


def pipes():
    count = 0
    while True:
        _, end = os.pipe()
        try:
            fcntl.fcntl(end, F_SETPIPE_SZ, 1 << 20)
        except OSError as error:
            return count, errno.errorcode[error.errno]
        count += 1


def main():
    print("%d instances, then %s; %d pipes of 1 MiB, then %s" % (*instances(), *pipes()), flush=True)
    open(sys.argv[1], "w").close()
    time.sleep(60)


main()
