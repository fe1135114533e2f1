"""Tries to open and control the terminal from which the daemon was started."""

import errno
import fcntl
import glob
import os
import termios


def attempt(what, action):
    try:
        action()
        print("%s: allowed" % what)
    except OSError as error:
        print("%s: %s" % (what, errno.errorcode[error.errno]))


def push(path):
    terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
    for byte in b"#\n":
        fcntl.ioctl(terminal, termios.TIOCSTI, bytes([byte]))


attempt("open /dev/tty", lambda: os.close(os.open("/dev/tty", os.O_RDWR)))
attempt("TIOCSTI on /dev/tty", lambda: push("/dev/tty"))
for path in sorted(glob.glob("/dev/pts/[0-9]*")):
    attempt("TIOCSTI on a terminal of root", lambda: push(path))
for descriptor in range(3):
    if os.isatty(descriptor):
        print("descriptor %d is a terminal" % descriptor)
