"""Callbacks of the real daemon at a receiver that stands for an API of Func, and forged ones."""
import builtins
import contextlib
import http.server
import importlib
import io
import json
import queue
import threading
import time
import unittest
from unittest import mock

import rig
import sidecar__callback


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.server.taken.put((self.path, self.headers, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def receiver():
    with http.server.HTTPServer(('127.0.0.1', 0), Handler) as server:
        server.taken = queue.Queue()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.taken, 'http://127.0.0.1:%d/api/v1/al/auln-sidecar-callback' % server.server_port
        finally:
            server.shutdown()
            thread.join()


class Callbacks(rig.DaemonCase):
    def taken(self, command, suffix='', **arguments):
        with receiver() as (taken, url):
            self.helper.shell(command, callback_url=url + suffix, **arguments)
            return taken.get(timeout=20)

    def test_a_genuine_callback_is_believed(self):
        path, headers, body = self.taken('echo 你好; printf "\\377" >&2', '/job-1?a=b', wait=False)
        got = sidecar__callback.verify_callback(rig.key(), path, headers, body)
        self.assertEqual(got, {'stdout': '你好\n', 'stderr': '\ufffd'})
        self.assertEqual(path, '/api/v1/al/auln-sidecar-callback/job-1?a=b')

    def test_a_callback_also_comes_to_a_caller_who_waits(self):
        path, headers, body = self.taken('echo waited')
        self.assertEqual(sidecar__callback.verify_callback(rig.key(), path, headers, body)['stdout'], 'waited\n')

    def test_while_a_key_is_rotated_each_is_good(self):
        path, headers, body = self.taken('true')
        for keys in (['new', rig.key()], [rig.key(), 'old'], (rig.key(),)):
            sidecar__callback.verify_callback(keys, path, headers, body)

    def test_the_case_of_headers_and_of_the_signature_does_not_matter(self):
        path, headers, body = self.taken('true')
        lower = {name.lower(): value.lower() for name, value in headers.items()}
        sidecar__callback.verify_callback(rig.key(), path, lower, body)

    def test_what_was_changed_is_refused(self):
        path, headers, body = self.taken('echo paid: no')
        given = dict(headers.items())
        forged = {
            'another body': (path, given, body.replace(b'no', b'ok')),
            'another path': (path + 'x', given, body),
            'another nonce': (path, dict(given, **{'X-Auth-Nonce': '0' * 32}), body),
            'another time': (path, dict(given, **{'X-Auth-Timestamp': str(int(time.time()) + 5)}), body),
            'another signature': (path, dict(given, **{'X-Auth-Signature': 'A' * 40}), body),
            'a signature that is no ASCII': (path, dict(given, **{'X-Auth-Signature': 'ä' * 40}), body),
            'an empty signature': (path, dict(given, **{'X-Auth-Signature': ''}), body),
            'no headers': (path, {}, body),
        }
        for what, request in forged.items():
            with self.assertRaisesRegex(ValueError, 'not signed with this key', msg=what):
                sidecar__callback.verify_callback(rig.key(), *request)
        for keys in ('another key', ['a', 'b'], []):
            with self.assertRaisesRegex(ValueError, 'not signed with this key'):
                sidecar__callback.verify_callback(keys, path, given, body)

    def test_an_old_callback_is_refused(self):
        request = self.taken('true')
        now = time.time
        for off in (-400, 400):
            with mock.patch('time.time', lambda: now() + off), self.assertRaisesRegex(ValueError, 'another time'):
                sidecar__callback.verify_callback(rig.key(), *request)
            with mock.patch('time.time', lambda: now() + off):
                sidecar__callback.verify_callback(rig.key(), *request, window=500)

    def test_signatures_are_compared_in_constant_time(self):
        request = self.taken('true')
        with mock.patch('hmac.compare_digest', return_value=False) as compare, self.assertRaises(ValueError):
            sidecar__callback.verify_callback(rig.key(), *request)
        self.assertTrue(compare.called)


class StandInForFunc:
    """The two names of Func's DFF that the example uses."""

    def __init__(self, **environment):
        self.environment, self.published = environment, {}

    def ENV(self, name):
        return self.environment[name]

    def API(self, title):
        def publish(function):
            self.published[title] = function
            return function
        return publish


class Example(rig.DaemonCase):
    @contextlib.contextmanager
    def example(self, callback_url='http://127.0.0.1:1/'):
        func = StandInForFunc(sidecar_url=rig.URL, sidecar_secret_key=rig.key(), sidecar_callback_url=callback_url)
        with mock.patch.object(builtins, 'DFF', func, create=True):
            import sidecar__example
            importlib.reload(sidecar__example)
            yield sidecar__example, func

    def test_its_functions_are_published(self):
        with self.example() as (script, func):
            self.assertEqual(list(func.published.values()), [script.run, script.run_later, script.cb])

    def test_it_runs_a_command(self):
        with self.example() as (script, _):
            self.assertEqual(script.run('pwd; echo 你好 $NAME', 'Tom'), '/tmp\n你好 Tom\n')
            with self.assertRaisesRegex(Exception, 'ended with 3: wrong'):
                script.run('echo wrong >&2; exit 3')

    def test_its_callback_function_gets_what_func_passes_on(self):
        with receiver() as (taken, url), self.example(url) as (script, _):
            job_id = script.run_later('echo out; echo err >&2')
            path, headers, body = taken.get(timeout=20)
            self.assertEqual(headers['X-Sidecar-Job-Id'], job_id)
            sidecar__callback.verify_callback(rig.key(), path, headers, body)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                self.assertEqual(script.cb(**json.loads(body)['kwargs']), 'received')
        self.assertEqual(printed.getvalue(), 'stdout: out\n\nstderr: err\n\n')


if __name__ == '__main__':
    unittest.main()
