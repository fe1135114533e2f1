"""Ansible's connection to a host with DataFlux Func Sidecar: signed HTTP calls in place of SSH.

Each command is a job with an id of its own. The client of the connector (sidecar__helper) never
runs a job twice; here its waiting is repeated for as long as a command runs.
"""
import base64
import contextlib
import os
import shlex
import signal
import stat
import sys
import time
import uuid

from ansible.errors import (AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError,
                            AnsibleFileNotFound)
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display
from ansible.utils.path import unfrackpath
from ansible_collections.dataflux_func.sidecar.plugins.plugin_utils import sidecar__wire

# The scripts of the connector import each other by these names, as DataFlux Func has them.
sys.modules.setdefault('sidecar__wire', sidecar__wire)
from ansible_collections.dataflux_func.sidecar.plugins.plugin_utils import sidecar__helper

DOCUMENTATION = r"""
name: sidecar
short_description: Runs on hosts with DataFlux Func Sidecar, by signed HTTP calls
version_added: 1.0.0
author: DataFlux Func Sidecar
description:
  - Commands, files and modules reach a host by calls that are signed with a secret key. SSH is not
    needed, and the key itself is never sent.
  - A broken connection never runs a command twice.
options:
  url:
    description: The address of the Sidecar, such as C(https://192.0.2.10:8099). Without a port it
      is 8099.
    type: str
    required: true
    vars:
      - name: ansible_sidecar_url
  key_file:
    description: A file with the secret key of the host, its SECRET_KEY or the SECRET of a named
      key, or with an Ed25519 private key (PEM) for hosts that have its PUBLIC_KEYS. It is refused
      if other users than its owner can read it.
    type: path
    required: true
    ini:
      - section: sidecar_connection
        key: key_file
    vars:
      - name: ansible_sidecar_key_file
  ca:
    description: A PEM file with the certificates to trust for C(https). Without it, those of this
      machine.
    type: path
    ini:
      - section: sidecar_connection
        key: ca
    vars:
      - name: ansible_sidecar_ca
  timeout:
    description: Seconds to wait for one HTTP answer. A command may take longer. It is asked for
      again then, so choose less than a proxy in between permits.
    type: float
    default: 50
    ini:
      - section: sidecar_connection
        key: timeout
    vars:
      - name: ansible_sidecar_timeout
  reconnect_timeout:
    description: Seconds for which a host may be out of reach while a command runs. After them the
      host is unreachable. A host that cannot be reached at first is unreachable at once.
    type: float
    default: 60
    ini:
      - section: sidecar_connection
        key: reconnect_timeout
    vars:
      - name: ansible_sidecar_reconnect_timeout
  command_timeout:
    description: Seconds after which the host ends a command. Without it, COMMAND_TIMEOUT of the
      host.
    type: float
    ini:
      - section: sidecar_connection
        key: command_timeout
    vars:
      - name: ansible_sidecar_command_timeout
  pipelining:
    description: Whether a module is sent as standard input of its interpreter. Otherwise it becomes
      a file first, which takes three calls more.
    type: bool
    default: true
    vars:
      - name: ansible_pipelining
      - name: ansible_sidecar_pipelining
"""

MAX_KEY = 4096  # bytes of a key file
# Bytes of a file in one call. In base64 they fit MAX_BODY of the host, 1 MiB by default, and where
# that is lower they are halved.
MAX_PUT = 720 << 10
MIN_PUT = 4 << 10
MAX_FETCH = 4 << 20  # bytes; MAX_OUTPUT of the host is 8 MiB by default, and may be lower
ANSWER = 10.0  # seconds to wait for an answer that needs no command to end
UNREAD = 'sidecar-cannot-read'  # on standard error, if a file cannot be read to its end
PAUSE = 1.0  # seconds between attempts to reach a host again

display = Display()


class Connection(ConnectionBase):
    """One host, as a task sees it. Each call is an HTTP connection of its own."""

    transport = 'dataflux_func.sidecar.sidecar'
    has_pipelining = True
    has_tty = False

    def _connect(self):
        if not self._connected:
            self._helper = self._make_helper()
            self._connected = True
        return self

    def _make_helper(self):
        ca_file = self.get_option('ca')
        try:
            return sidecar__helper.SidecarHelper.from_url(
                self.get_option('url'), read_key(self.get_option('key_file')),
                ca_file and unfrackpath(ca_file))
        except ValueError as fault:
            raise AnsibleError('cannot use the options of the connection: %s' % fault) from None

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """Runs a command and returns its exit status and the bytes of both streams."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if sudoable and self.become and self.become.expect_prompt():
            raise AnsibleError(
                'cannot enter a password for %s, as a command has no terminal\nhint: let sudoers '
                'permit the run user without one (NOPASSWD), and set no become password'
                % self.become.name)
        display.vvv('EXEC %s' % cmd, host=self._play_context.remote_addr)
        data = self._run(cmd, in_data)
        return exit_status(data), self._output(data, 'stdout'), self._output(data, 'stderr')

    def put_file(self, in_path, out_path):
        """Writes a file of the host: in pieces next to it, and then in its place."""
        super().put_file(in_path, out_path)
        if not os.path.exists(in_path):
            raise AnsibleFileNotFound('there is no file %s to send' % in_path)
        display.vvv('PUT %s TO %s' % (in_path, out_path), host=self._play_context.remote_addr)
        part = shlex.quote('%s.%s' % (out_path, uuid.uuid4().hex))
        with open(in_path, 'rb') as file:
            try:
                self._put(file, part)
                self._transfer('mv -f -- %s %s' % (part, shlex.quote(out_path)))
            except AnsibleError:
                with contextlib.suppress(AnsibleError):
                    self._transfer('rm -f -- ' + part)
                raise

    def _put(self, file, part):
        total, offset, size = os.fstat(file.fileno()).st_size, 0, MAX_PUT
        while True:
            file.seek(offset)
            piece = file.read(min(size, total - offset))
            try:
                self._transfer('cat %s %s' % ('>>' if offset else '>', part), piece)
            except TooLarge:
                if size <= MIN_PUT:
                    raise
                size //= 2
                continue
            offset += len(piece)
            if offset >= total or not piece:  # the file may have become shorter
                return

    def fetch_file(self, in_path, out_path):
        """Reads a file of the host in pieces."""
        super().fetch_file(in_path, out_path)
        display.vvv('FETCH %s TO %s' % (in_path, out_path), host=self._play_context.remote_addr)
        with open(out_path, 'wb') as file:
            while self._fetch(in_path, file):
                pass

    def _fetch(self, in_path, file):
        """Appends the next piece to a file; returns whether there may be more."""
        offset = file.tell()
        # head is the one whose exit status counts; it ends tail by SIGPIPE.
        data = self._run('exec < %s && { tail -c +%d || [ $? -gt 128 ] || echo %s >&2; } | head -c %d'
                         % (shlex.quote(in_path), offset + 1, UNREAD, MAX_FETCH), wait=False)
        with self._explained(data['jobId']):
            for piece in self._helper.output(data['jobId']):
                file.write(piece)
            got, said = file.tell() - offset, b''
            # What follows in order is stdout that was not kept, stderr and the result.
            for event in self._helper.events(data['jobId'], '%d-0' % got):
                if event['event'] == 'stderr':
                    said += event['bytes']
        check_transfer('read %s' % in_path, event, said)
        if UNREAD.encode() in said:
            raise AnsibleError('cannot read %s to its end: %s'
                               % (in_path, said.decode('utf-8', 'replace').partition(UNREAD)[0]))
        if event['stdoutBytes'] and not got:
            raise AnsibleError('the host keeps no output of a command\nhint: raise MAX_OUTPUT')
        return got == MAX_FETCH or got < event['stdoutBytes']

    def transport_test(self, connect_timeout):
        """Sends a call that runs nothing, for wait_for_connection."""
        self._connect()
        with self._explained():
            self._helper.permissions(connect_timeout)

    def reset(self):
        self.close()

    def close(self):
        self._connected = False

    def _transfer(self, command, stdin=None):
        data = self._run(command, stdin)
        check_transfer(command, data, sidecar__helper.output_bytes(data, 'stderr'))

    def _run(self, command, stdin=None, wait=True):
        """Runs a command as a job. Returns the data of its answer; without `wait`, once it is
        accepted.
        """
        if isinstance(command, bytes):
            command = command.decode('utf-8')
        body = {'command': command, 'wait': wait, 'jobId': uuid.uuid4().hex}
        if stdin:
            body.update(as_input(stdin))
        if self.get_option('command_timeout'):
            body['timeout'] = self.get_option('command_timeout')
        try:
            with self._explained(body['jobId']):
                return self._wait(body)
        except Exception:
            raise
        except BaseException:  # the timeout of the task, or Ctrl-C
            with contextlib.suppress(sidecar__helper.SidecarError):
                self._helper.cancel(body['jobId'], ANSWER)
            raise

    def _wait(self, body):
        """Sends a request once, and asks for its job until it has ended. Raises SidecarLost if the
        host is out of reach for too long.
        """
        stamp, seen, lost = time.time(), time.monotonic(), None
        while True:
            try:
                return self._helper.start(body, self.get_option('timeout'), stamp, lost)
            except sidecar__helper.SidecarTimeout as error:
                lost = sidecar__helper.SidecarLost(str(error))
                with contextlib.suppress(sidecar__helper.SidecarError):
                    self._helper.summary(body['jobId'], ANSWER)  # any answer: the host is there
                    seen = time.monotonic()
            except sidecar__helper.SidecarLost as error:
                if error.status is not None and error.status < 500:  # it is no Sidecar
                    raise
                lost = error
                time.sleep(PAUSE)
            if time.monotonic() - seen > self.get_option('reconnect_timeout'):
                raise lost

    @contextlib.contextmanager
    def _explained(self, job_id=None):
        """Turns errors of the client into those of Ansible, by what they mean for the host."""
        try:
            yield
        except sidecar__helper.SidecarError as error:
            error.job_id = job_id
            raise explained(error) from None

    def _output(self, data, stream):
        """Returns the bytes of a stream, with a line in place of those that were not kept."""
        start = sidecar__helper.output_bytes(data, stream)
        if not data.get(stream + 'Truncated'):
            return start
        end = sidecar__helper.output_bytes(data, stream + 'Tail')
        missing = data[stream + 'Bytes'] - len(start) - len(end)
        display.warning('%s: %d bytes of the %s of a command are missing, as it has more than '
                        'MAX_OUTPUT of the host'
                        % (self._play_context.remote_addr, missing, stream))
        return start + b'\n[dataflux-func-sidecar: %d bytes left out]\n' % missing + end


class TooLarge(AnsibleError):
    """A request has more bytes than MAX_BODY of the host."""


def read_key(path):
    """Returns the key of a file of at most MAX_KEY bytes. Refuses one that other users can read."""
    path = unfrackpath(path)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise AnsibleError('cannot use the key file %s: other users have access to it '
                                   '(mode %04o)\nhint: chmod 600 %s'
                                   % (path, stat.S_IMODE(mode), path))
            raw = file.read(MAX_KEY + 1) if stat.S_ISREG(mode) else b''
        if not raw.strip() or len(raw) > MAX_KEY:
            raise AnsibleError('cannot use the key file %s: it must be a file of 1 to %d bytes'
                               % (path, MAX_KEY))
        return raw.decode('utf-8').rstrip('\r\n')
    except OSError as fault:
        raise AnsibleError('cannot read the key file %s: %s' % (path, fault.strerror)) from None
    except UnicodeDecodeError:  # its message would have the bytes
        raise AnsibleError('cannot use the key file %s: it is not UTF-8' % path) from None


def as_input(data):
    """Returns the part of a request that has standard input; base64 is the larger form of text."""
    if isinstance(data, str):
        data = data.encode('utf-8', 'surrogateescape')
    if data.isascii() and b'\0' not in data:
        return {'stdin': data.decode('ascii')}
    return {'stdinBase64': base64.b64encode(data).decode('ascii')}


def explained(error):
    if error.status in (401, 403):
        return AnsibleAuthenticationFailure(str(error))
    if error.status == 413:
        return TooLarge('%s\nhint: raise MAX_BODY of the host; a large module can be sent as a '
                        'file instead (ansible_pipelining=false)' % error)
    if isinstance(error, sidecar__helper.SidecarBusy) or not isinstance(error, (
            sidecar__helper.SidecarRefused, sidecar__helper.SidecarUnreadable)):
        return AnsibleConnectionFailure(str(error))
    return AnsibleError(str(error))


def exit_status(data):
    """Returns the exit status of a command; 128 and its number for a signal, as a shell does."""
    ended = data.get('ended')
    if ended in ('stopped', 'interrupted'):
        raise AnsibleConnectionFailure(
            'the Sidecar of the host was stopped while the command ran (%s, job %s): it is not run '
            'again' % (ended, data['jobId']))
    if ended != 'exited':
        raise AnsibleError('the command did not end by itself: %s (job %s)'
                           % (ended, data['jobId']))
    if data['exitCode'] is not None:
        return data['exitCode']
    return 128 + getattr(signal, str(data['signal']), signal.SIGKILL)


def check_transfer(what, data, said):
    """Raises unless a command that moves bytes has succeeded."""
    status = exit_status(data)
    if status:
        raise AnsibleError('cannot %s: %s' % (
            what, said.decode('utf-8', 'replace').strip() or 'exit status %d' % status))
