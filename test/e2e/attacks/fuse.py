"""Mounts a FUSE file system that does not answer, in a new user and mount namespace.

fuse.py held READY      it never ends: the process that waits for it also has the device open
fuse.py released READY  it ends when its server is killed

A process writes to standard output from the mapping of a file. It holds the lock of that pipe until the
page of the file is read, which never happens. Then the file READY has the process id of the server.
"""

import ctypes
import mmap
import os
import struct
import sys

MODE, READY = sys.argv[1:3]
MOUNT = "/tmp/fuse.%d" % os.getpid()
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
LOOKUP, FORGET, GETATTR, OPEN, READ, INIT, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 26, 36, 42
ENOENT, ENOSYS = 2, 38
FILE = 2
VALID = 1 << 32

libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def enter_namespaces():
    uid, gid = os.getuid(), os.getgid()
    checked(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", "0 %d 1" % uid)
    write("/proc/self/gid_map", "0 %d 1" % gid)


def mount():
    os.mkdir(MOUNT)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % device
    checked(libc.mount(b"none", MOUNT.encode(), b"fuse", 0, options))
    return device


def attributes(node):
    mode = 0o100444 if node == FILE else 0o40755
    return struct.pack("<6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode, node, body):
    """The error and the payload, or None for what is not answered here."""
    if opcode == INIT:
        return 0, struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 8, 8, 4096, 1, 1, 0, *[0] * 8)
    if opcode == LOOKUP:
        if body != b"file\0":
            return -ENOENT, b""
        return 0, struct.pack("<4Q2I", FILE, 0, VALID, VALID, 0, 0) + attributes(FILE)
    if opcode == GETATTR:
        return 0, struct.pack("<Q2I", VALID, 0, 0) + attributes(node)
    if opcode == OPEN:
        return 0, struct.pack("<Q2I", 0, 0, 0)
    if opcode in (READ, FORGET, INTERRUPT, BATCH_FORGET):
        return None
    return -ENOSYS, b""


def reply(device, unique, error, payload):
    try:
        os.write(device, struct.pack("<IiQ", 16 + len(payload), error, unique) + payload)
    except OSError:
        pass  # the process that asked has ended


def serve(device):
    while True:
        try:
            request = os.read(device, 1 << 17)
        except FileNotFoundError:
            continue  # interrupted before it was read
        except OSError:
            return
        _, opcode, unique, node = struct.unpack_from("<2I2Q", request)
        said = answer(opcode, node, request[40:])
        if said is not None:
            reply(device, unique, *said)
        elif opcode == READ:
            ready()


def ready():
    write(READY + ".new", "%d" % os.getpid())
    os.rename(READY + ".new", READY)


def hold(device):
    """In a process of its own: the server must not wait for itself."""
    if MODE == "released":
        os.close(device)
    file = os.open(MOUNT + "/file", os.O_RDONLY)
    os.write(1, mmap.mmap(file, 4096, prot=mmap.PROT_READ))


def main():
    enter_namespaces()
    device = mount()
    if os.fork() == 0:
        hold(device)
        os._exit(0)
    os.close(0)
    os.close(1)
    serve(device)


main()
