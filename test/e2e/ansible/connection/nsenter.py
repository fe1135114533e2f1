"""Runs the modules of Ansible in a machine of these tests: ansible_nsenter_leader is its PID 1."""

import shlex
import shutil

from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
    name: nsenter
    short_description: enter a machine of the end-to-end tests by nsenter
    description: Enters all namespaces of a process of this host.
    author: DataFlux Func Sidecar
    options:
      leader:
        description: the process
        vars: [{name: ansible_nsenter_leader}]
"""


class Connection(Local):
    transport = "nsenter"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        inside = ["nsenter", "--target", str(self.get_option("leader")), "--all", "--", "env", "-i", "HOME=/root",
                  "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "sh", "-c", cmd]
        status, out, said = super().exec_command(shlex.join(inside), in_data, sudoable)
        # ssh gives a terminal to what has no standard input: it has one stream.
        return (status, out, said) if in_data or not sudoable else (status, out + said, b"")

    def put_file(self, in_path, out_path):
        shutil.copyfile(in_path, self._here(out_path))

    def fetch_file(self, in_path, out_path):
        shutil.copyfile(self._here(in_path), out_path)

    def _here(self, path):
        return "/proc/%s/root%s" % (self.get_option("leader"), path)
