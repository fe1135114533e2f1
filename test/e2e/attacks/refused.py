"""Tries on the daemon everything that a process may do to another one, and a user to cgroups.

refused.py EXECUTOR NETWORK UNIT ROLE_UID
    against the daemon: process ids, the folder of the unit's cgroup if it has one, the user of the roles
refused.py harmless EXECUTOR NETWORK
    against a daemon of the same user: only asks for permission
refused.py own UNIT
    the control: against processes and cgroups of the caller, in a cgroup that is delegated to it

Prints one line per attempt, "what on whom: allowed" or the name of the errno.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
OWN, HARMLESS = sys.argv[1] == "own", sys.argv[1] == "harmless"
UNIT = sys.argv[2 if OWN else 3]
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
IOPRIO_WHO_PROCESS, IOPRIO_IDLE = 1, 3 << 13
SYS_IOPRIO_SET = 251 if platform.machine() == "x86_64" else 30
SYS_CLONE3, CLONE_INTO_CGROUP = 435, 0x200000000
made = 0
text = ctypes.create_string_buffer(8)  # a forked victim has it at the same address


def attempt(what, action):
    try:
        action()
        print("%s: allowed" % what, flush=True)
    except OSError as error:
        print("%s: %s" % (what, errno.errorcode[error.errno]), flush=True)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def write(path, text):
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def victim(role):
    """The process to attack. The control's is fresh each time: an attack that works leaves it useless."""
    if not OWN:
        return int(sys.argv[(1 if role == "executor" else 2) + HARMLESS])
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        signal.pause()
        os._exit(0)
    os.setpgid(pid, pid)
    return pid


def group_of(name):
    """The cgroup to attack, likewise."""
    global made
    if not OWN:
        return os.path.join(UNIT, name)
    made += 1
    path = os.path.join(UNIT, "%s-%d" % (name.replace("/", "-") or "top", made))
    os.mkdir(path)
    return path


def write_memory(pid):
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(text), 8)
    checked(libc.process_vm_writev(pid, vector, 1, vector, 1, 0))


def send_by_pidfd(pid):
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def signal_group(pid):
    os.kill(-os.getpgid(pid), signal.SIGKILL)


def try_process(role):
    for name in ("SIGKILL", "SIGSTOP", "SIGTERM", "SIGHUP", "SIGCONT", "SIGABRT"):
        attempt("%s to the %s" % (name, role), lambda: os.kill(victim(role), getattr(signal, name)))
    attempt("pidfd_send_signal to the %s" % role, lambda: send_by_pidfd(victim(role)))
    attempt("SIGKILL to the process group of the %s" % role, lambda: signal_group(victim(role)))
    attempt("prlimit --nofile=3 of the %s" % role,
            lambda: resource.prlimit(victim(role), resource.RLIMIT_NOFILE, (3, 3)))
    attempt("prlimit --cpu=1 of the %s" % role,
            lambda: resource.prlimit(victim(role), resource.RLIMIT_CPU, (1, 1)))
    attempt("PTRACE_ATTACH to the %s" % role, lambda: checked(libc.ptrace(PTRACE_ATTACH, victim(role), None, None)))
    attempt("PTRACE_SEIZE of the %s" % role, lambda: checked(libc.ptrace(PTRACE_SEIZE, victim(role), None, None)))
    attempt("mem of the %s" % role, lambda: os.close(os.open("/proc/%d/mem" % victim(role), os.O_RDWR)))
    attempt("process_vm_writev to the %s" % role, lambda: write_memory(victim(role)))
    attempt("oom_score_adj of the %s" % role, lambda: write("/proc/%d/oom_score_adj" % victim(role), "1000"))
    attempt("coredump_filter of the %s" % role, lambda: write("/proc/%d/coredump_filter" % victim(role), "0xff"))
    attempt("ioprio_set of the %s" % role,
            lambda: checked(libc.syscall(SYS_IOPRIO_SET, IOPRIO_WHO_PROCESS, victim(role), IOPRIO_IDLE)))


def nicer():
    return min(os.getpriority(os.PRIO_PROCESS, 0) + 1, 19)


def try_priority(role):
    """For these the kernel compares with the target's effective uid."""
    attempt("renice of the %s" % role, lambda: os.setpriority(os.PRIO_PROCESS, victim(role), nicer()))
    attempt("sched_setaffinity of the %s" % role,
            lambda: os.sched_setaffinity(victim(role), os.sched_getaffinity(0)))
    attempt("SCHED_BATCH of the %s" % role,
            lambda: os.sched_setscheduler(victim(role), os.SCHED_BATCH, os.sched_param(0)))


def born_in(path):
    """A child of the caller, born into the cgroup."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    arguments = (ctypes.c_uint64 * 11)()
    arguments[0], arguments[4], arguments[10] = CLONE_INTO_CGROUP, signal.SIGCHLD, folder
    try:
        pid = checked(libc.syscall(SYS_CLONE3, arguments, ctypes.sizeof(arguments)))
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    finally:
        os.close(folder)


def make_threaded(path):
    if OWN:  # one with a neighbour that has processes cannot become threaded
        path += "/inner"
        os.mkdir(path)
    write(path + "/cgroup.type", "threaded")


def try_cgroup(name, label):
    for file, value in (("cgroup.freeze", "1"), ("cgroup.kill", "1"), ("cgroup.max.descendants", "0"),
                        ("cgroup.subtree_control", "-cpu")):
        attempt("write %s of %s" % (file, label), lambda: write("%s/%s" % (group_of(name), file), value))
    attempt("make %s threaded" % label, lambda: make_threaded(group_of(name)))
    attempt("move the executor into %s" % label,
            lambda: write("%s/cgroup.procs" % group_of(name), str(victim("executor"))))
    attempt("move itself into %s" % label, lambda: write("%s/cgroup.procs" % group_of(name), "0"))
    attempt("be born in %s" % label, lambda: born_in(group_of(name)))
    attempt("make a cgroup in %s" % label, lambda: os.mkdir("%s/evil" % group_of(name)))
    attempt("chmod of %s" % label, lambda: os.chmod(group_of(name), 0o777))
    attempt("chmod of cgroup.procs of %s" % label,
            lambda: os.chmod("%s/cgroup.procs" % group_of(name), 0o666))
    attempt("chown of %s" % label, lambda: os.chown(group_of(name), os.getuid(), -1))
    attempt("remove %s" % label, lambda: os.rmdir(group_of(name)))
    attempt("setxattr of %s" % label, lambda: os.setxattr(group_of(name), "user.evil", b"1"))


def an_idle_job():
    """A job's cgroup in which nothing runs: the next command's."""
    jobs = os.path.join(UNIT, "jobs")
    for name in sorted(os.listdir(jobs)):
        folder = os.path.join(jobs, name)
        if stat.S_ISDIR(os.stat(folder).st_mode) and not open(folder + "/cgroup.procs").read():
            return "jobs/" + name
    sys.exit("no cgroup is idle: run a command before")


def own_job():
    below = open("/proc/self/cgroup").read().rsplit("0::", 1)[1].strip()
    return "jobs/" + below.rsplit("/", 1)[1]


def many_cgroups():
    jobs = group_of("jobs")
    for i in range(1000 if OWN else 100_000):
        os.mkdir("%s/many%d" % (jobs, i))


def try_harmlessly(role):
    pid = victim(role)
    attempt("signal 0 to the %s" % role, lambda: os.kill(pid, 0))
    attempt("pidfd_send_signal to the %s" % role, lambda: signal.pidfd_send_signal(os.pidfd_open(pid), 0))
    attempt("prlimit of the %s" % role, lambda: resource.prlimit(
        pid, resource.RLIMIT_NOFILE, resource.prlimit(pid, resource.RLIMIT_NOFILE)))
    attempt("PTRACE_SEIZE of the %s" % role, lambda: checked(libc.ptrace(PTRACE_SEIZE, pid, None, None)))
    attempt("mem of the %s" % role, lambda: os.close(os.open("/proc/%d/mem" % pid, os.O_RDWR)))
    attempt("process_vm_writev to the %s" % role, lambda: write_memory(pid))
    attempt("oom_score_adj of the %s" % role, lambda: os.close(os.open("/proc/%d/oom_score_adj" % pid, os.O_WRONLY)))


def main():
    for role in ("executor", "network role"):
        if HARMLESS:
            try_harmlessly(role)
            continue
        try_process(role)
        try_priority(role)
    if HARMLESS:
        return
    if UNIT:
        try_cgroups()
    if OWN:
        return
    role_uid = int(sys.argv[4])
    attempt("become the user of the roles", lambda: os.setresuid(role_uid, role_uid, role_uid))
    attempt("become it by its saved uid alone", lambda: os.setresuid(-1, role_uid, -1))
    attempt("become the group of the roles", lambda: os.setresgid(role_uid, role_uid, role_uid))
    attempt("become root", lambda: os.setresuid(0, 0, 0))


def try_cgroups():
    for name, label in (("", "the unit's cgroup"), ("daemon", "the daemon's cgroup"), ("jobs", "the cgroup of the jobs"),
                        ("idle" if OWN else an_idle_job(), "an idle job's cgroup"),
                        ("own" if OWN else own_job(), "the command's own cgroup")):
        try_cgroup(name, label)
    attempt("make 100,000 cgroups", many_cgroups)


main()
