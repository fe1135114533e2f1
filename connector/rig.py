"""Shared by the tests: helpers for the daemon that the Go test runs, and connections that break on
purpose.

The Go test sets the environment, and restarts the daemon whenever a test kills it.
"""
import contextlib
import json
import os
import socket
import threading
import unittest
import uuid

import sidecar__helper

URL = os.environ['SIDECAR_URL']
TLS_URL = os.environ['SIDECAR_TLS_URL']
OTHER_URLS = os.environ['SIDECAR_OTHER_URLS'].split()  # of two more daemons, for fleets
SCRATCH = os.environ['SIDECAR_SCRATCH']  # a folder for commands; it may be missing here
QUICK = (0.01, 0.02, 0.03)  # seconds, in place of sidecar__helper.PAUSES


def key(name=None):
    """Returns the daemon's key, that of a [KEY.name], or of another daemon, other0 or other1. Tests
    must not keep it in a variable, as they look for it in tracebacks.
    """
    with open('key-' + name if name else 'key', encoding='utf-8') as file:
        return file.read()


def make_helper(url=URL, ca_file=None, name=None):
    return sidecar__helper.SidecarHelper.from_url(url, key(name), ca_file)


class DaemonCase(unittest.TestCase):
    """A test with a helper for the real daemon. Afterwards no job is running."""

    def setUp(self):
        self.helper = make_helper()
        self.addCleanup(self.end_jobs)

    def end_jobs(self):
        for job in self.helper.jobs():
            if job['state'] != 'ended':
                job_id = '%s:%s' % (job['key'], job['jobId'])
                self.helper.cancel(job_id)
                self.helper.result(job_id)

    def run_command(self, command, **arguments):
        """Runs a command and returns the data of the answer."""
        status, result = self.helper.shell(command, **arguments)
        self.assertEqual((status, result['ok']), (200, True))
        return result['data']

    def new_gate(self):
        """Returns a command that waits until the gate is open, and a function that opens it."""
        path = '%s/%s' % (SCRATCH, uuid.uuid4().hex)
        wait = 'until [ -e %s ]; do sleep 0.02; done' % path
        return wait, lambda: self.run_command('touch ' + path)

    def new_marker(self):
        """Returns a file, and a command that adds a line to it: one for each run."""
        path = '%s/%s' % (SCRATCH, uuid.uuid4().hex)
        return path, 'echo run >> %s' % path

    def assertRunOnce(self, path):
        self.assertEqual(self.run_command('cat ' + path)['stdout'], 'run\n')


@contextlib.contextmanager
def server(serve):
    """Runs a TCP server on loopback that serves each connection on a thread; yields its URL."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        threads = [threading.Thread(target=_accept, args=(listener, serve), daemon=True)]
        threads[0].start()
        try:
            yield 'http://127.0.0.1:%d' % listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            threads[0].join(10)


def _accept(listener, serve):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, serve), daemon=True).start()


def _serve(connection, serve):
    with connection, contextlib.suppress(OSError):
        serve(connection)


class Request:
    """A request as it was received."""

    def __init__(self, connection):
        self.raw = b''
        while b'\r\n\r\n' not in self.raw:
            self.raw += _some(connection)
        head, _, body = self.raw.partition(b'\r\n\r\n')
        lines = head.decode('latin-1').split('\r\n')
        self.line = lines[0].rsplit(' ', 1)[0]
        pairs = (line.partition(': ') for line in lines[1:])
        self.headers = {name.lower(): value for name, _, value in pairs}
        while len(body) < int(self.headers.get('content-length', 0)):
            body += _some(connection)
        self.raw = head + b'\r\n\r\n' + body
        self.body = json.loads(body) if body else None


def _some(connection):
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError('the other side closed the connection')
    return data


class Relay:
    """A relay between helper and daemon that breaks connections by a plan, in the order of their
    requests.

    'pass' relays everything, as for all connections after the plan. 'drop' closes the connection
    without relaying the request, 'lose' after it with `answer` in place of the daemon's, 'head'
    within the headers of the answer, and 'cut' at its end.
    """

    def __init__(self, *plan, answer=b''):
        self.answer = answer
        self.plan, self.requests, self.lock = list(plan), [], threading.Lock()

    def lines(self):
        return [request.line for request in self.requests]

    def posts(self):
        return [request for request in self.requests if request.line.startswith('POST')]

    def __call__(self, client):
        request = Request(client)
        with self.lock:
            self.requests.append(request)
            treatment = self.plan.pop(0) if self.plan else 'pass'
        if treatment == 'drop':
            return
        host, _, port = URL.rpartition('/')[2].rpartition(':')
        with socket.create_connection((host, int(port)), 10) as daemon:
            daemon.sendall(request.raw)
            getattr(self, '_' + treatment)(client, daemon)

    def _lose(self, client, daemon):
        daemon.settimeout(0.2)  # the daemon reads the request meanwhile
        with contextlib.suppress(socket.timeout):
            daemon.recv(1)
        client.sendall(self.answer)

    def _head(self, client, daemon):
        daemon.settimeout(30)
        client.sendall(_some(daemon)[:40])

    def _cut(self, client, daemon):
        daemon.settimeout(30)
        client.sendall(_some(daemon)[:-5])

    def _pass(self, client, daemon):
        daemon.settimeout(120)
        back = threading.Thread(target=self._until_closed, args=(client, daemon), daemon=True)
        back.start()
        with contextlib.suppress(ConnectionResetError):
            while True:
                client.sendall(_some(daemon))

    @staticmethod
    def _until_closed(client, daemon):
        with contextlib.suppress(OSError):
            client.recv(1)
            daemon.shutdown(socket.SHUT_RDWR)
