"""Forks whenever the kernel permits it, for SECONDS. All children sleep."""

import os
import sys
import time

count = refused = 0
until = time.time() + float(sys.argv[1])
while time.time() < until:
    try:
        if os.fork() == 0:
            time.sleep(max(0, until - time.time()))
            os._exit(0)
        count += 1
    except BlockingIOError:
        refused += 1
        time.sleep(0.001)
print("forked %d, refused %d" % (count, refused))
