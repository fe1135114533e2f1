"""Searches the key as a command of dffs. Prints every way that worked, and nothing else."""

import ctypes
import os
import sys

KEY = sys.argv[1].encode()
ROLES = sys.argv[2:]
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206


def found(way):
    print("WAY IN:", way)


def readable(path, what):
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 20)
    except OSError:
        return
    found("%s can be read: %s" % (what, path))
    if KEY in data:
        found("and holds the key")


def listable(path):
    try:
        names = os.listdir(path)
    except OSError:
        return
    found("%s can be listed: %s" % (path, names))


def try_process(pid):
    for name in ("mem", "environ", "maps", "smaps", "auxv", "syscall", "stack", "io", "pagemap"):
        readable("/proc/%s/%s" % (pid, name), "process")
    for name in ("fd", "map_files", "fdinfo"):
        listable("/proc/%s/%s" % (pid, name))
    for name in ("exe", "cwd", "root"):
        try:
            found("%s of %s is %s" % (name, pid, os.readlink("/proc/%s/%s" % (pid, name))))
        except OSError:
            pass
    with open("/proc/%s/cmdline" % pid, "rb") as file:
        if KEY in file.read():
            found("the arguments of %s hold the key" % pid)
    try_syscalls(int(pid))


def try_syscalls(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (PTRACE_ATTACH, PTRACE_SEIZE):
        if libc.ptrace(request, pid, None, None) == 0:
            found("ptrace request %#x of %d" % (request, pid))
    buffer = ctypes.create_string_buffer(4096)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 4096)
    if libc.process_vm_readv(pid, vector, 1, vector, 1, 0) >= 0 or ctypes.get_errno() not in (1, 3):
        found("process_vm_readv of %d: errno %d" % (pid, ctypes.get_errno()))
    pidfd = os.pidfd_open(pid)
    for number in range(32):
        if libc.syscall(438, pidfd, number, 0) >= 0:  # pidfd_getfd
            found("descriptor %d of %d taken" % (number, pid))


def try_own_environment():
    with open("/proc/self/environ", "rb") as file:
        if KEY in file.read():
            found("the environment of a command holds the key")


for role in ROLES:
    try_process(role)
try_own_environment()
readable("/etc/dataflux-func-sidecar", "configuration")
readable("/usr/local/bin/dataflux-func-sidecar", "program")
listable("/var/lib/dataflux-func-sidecar")
readable("/proc/kcore", "kernel memory")
readable("/dev/mem", "memory")
print("tried", len(ROLES), "roles")
