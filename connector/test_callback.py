"""Callbacks of the real daemon at a receiver that stands for an API of Func, and forged ones."""
import base64
import contextlib
import http.server
import json
import queue
import random
import threading
import time
import unittest
from unittest import mock

import rig
import sidecar__callback
import sidecar__helper
import standin


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


class CallsOfFunctions(rig.DaemonCase):
    """verify_call, with what a function of Func sees of the request."""

    def call(self, command, suffix='', **arguments):
        with receiver() as (taken, url):
            self.helper.shell(command, callback_url=url + suffix, **arguments)
            return standin.http_request(*taken.get(timeout=20))

    def test_a_genuine_call_is_believed_and_says_which_job_it_is_for(self):
        request = self.call('echo 你好; echo err >&2; exit 4', '?a=b', wait=False, job_id='mine')
        got = sidecar__callback.verify_call(rig.key(), request)
        self.assertEqual(got, {
            'stdout': '你好\n', 'stderr': 'err\n', 'jobId': 'mine', 'attempt': 1, 'exitCode': 4,
            'signal': None, 'state': 'exited'})

    def test_a_signal_is_told(self):
        got = sidecar__callback.verify_call(rig.key(), self.call('kill -9 $$'))
        self.assertEqual((got['exitCode'], got['signal']), (None, 'SIGKILL'))

    def test_the_key_may_be_that_of_a_connector_or_one_of_several(self):
        request = self.call('true')
        stock = standin.StockHelper({'secretKey': rig.key()})
        for key in (stock, [stock], ['new', rig.key()], (rig.key(), 'old')):
            sidecar__callback.verify_call(key, request)

    def test_the_body_is_rebuilt_whatever_a_command_writes(self):
        rand = random.Random(20261130)
        pool = ['a', ' ', '"', '\\', '/', '\b\t\n\f\r', '\0', '\x1f', '\x7f', '\x85', 'é', '你',
                '\u2028\u2029', '\u202e', '\ufffd', '\ufeff', '😀', '\U0010ffff', '</script>']
        raw = [b'\xff', b'\xc0\x80', b'\xed\xa0\xbd', b'\xed\xb8\x80', b'\xe4\xbd', b'\xf4\x90\x80\x80']
        raw += [text.encode('utf-8') for text in pool]
        for _ in range(20):
            out, err = (b''.join(rand.choice(raw) for _ in range(300)) for _ in range(2))
            command = 'echo %s | base64 -d; echo %s | base64 -d >&2' % tuple(
                base64.b64encode(text).decode('ascii') for text in (out, err))
            with receiver() as (taken, url):
                data = self.run_command(command, callback_url=url)
                path, headers, body = taken.get(timeout=20)
            self.assertEqual(sidecar__helper.output_bytes(data), out)
            # Through the forms that a text has between Func's web server and a function.
            request = standin.http_request(path, headers, json.dumps(json.loads(body)))
            self.assertEqual(sidecar__callback._rebuilt(request['body']), body)
            got = sidecar__callback.verify_call(rig.key(), request)
            self.assertEqual((got['stdout'], got['stderr']), (data['stdout'], data['stderr']))

    def test_what_was_changed_is_refused(self):
        request = self.call('echo paid: no')
        for change in (dict(originalUrl='/x'), dict(body={'kwargs': {'stdout': 'x', 'stderr': ''}}),
                       dict(headers=dict(request['headers'], **{'x-auth-nonce': '0' * 32})),
                       dict(headers={'a': 'b'}),
                       dict(body={'kwargs': {'stdout': '\ud800', 'stderr': ''}})):
            with self.assertRaisesRegex(ValueError, 'not signed with this key'):
                sidecar__callback.verify_call(rig.key(), dict(request, **change))
        with self.assertRaisesRegex(ValueError, 'not signed with this key'):
            sidecar__callback.verify_call('another key', request)
        with self.assertRaisesRegex(ValueError, 'another time'):
            sidecar__callback.verify_call(rig.key(), request, window=-1)

    def through_proxy(self, command, **arguments):
        """Returns a call from which a proxy has removed the headers that begin with X-."""
        request = self.call(command, **arguments)
        headers = {name: value for name, value in request['headers'].items() if not name.startswith('x-')}
        self.assertLess(len(headers), len(request['headers']) - 5)
        return dict(request, headers=headers)

    def test_without_x_headers_the_signature_of_standard_webhooks_is_believed(self):
        request = self.through_proxy('echo 你好; echo err >&2; exit 4', wait=False, job_id='behind-a-proxy')
        want = {'stdout': '你好\n', 'stderr': 'err\n', 'jobId': 'behind-a-proxy', 'attempt': None,
                'exitCode': None, 'signal': None, 'state': None}
        for key in (rig.key(), ['new', rig.key()], standin.StockHelper({'secretKey': rig.key()})):
            self.assertEqual(sidecar__callback.verify_call(key, request), want)

    def test_without_x_headers_what_was_changed_is_refused(self):
        request = self.through_proxy('echo paid: no')
        given = request['headers']
        headers = [{name: value} for name, value in (
            ('webhook-id', 'other'), ('webhook-id', ''), ('webhook-timestamp', '1'),
            ('webhook-signature', given['webhook-signature'].lower()), ('webhook-signature', ''),
            ('webhook-signature', 'ä'), ('x-auth-nonce', '0' * 32), ('x-auth-signature', ''))]
        for change in [dict(headers=dict(given, **one)) for one in headers] + [
                dict(headers={'a': 'b'}), dict(body={'kwargs': {'stdout': 'paid: ok', 'stderr': ''}})]:
            with self.assertRaisesRegex(ValueError, 'not signed with this key', msg=change):
                sidecar__callback.verify_call(rig.key(), dict(request, **change))
        for keys in ('another key', ['a', 'b'], []):
            with self.assertRaisesRegex(ValueError, 'not signed with this key'):
                sidecar__callback.verify_call(keys, request)
        now = time.time
        for off in (-400, 400):
            with mock.patch('time.time', lambda: now() + off):
                with self.assertRaisesRegex(ValueError, 'another time'):
                    sidecar__callback.verify_call(rig.key(), request)
                sidecar__callback.verify_call(rig.key(), request, window=500)

    def test_a_receiver_with_the_raw_body_needs_the_signature_that_covers_the_path(self):
        with receiver() as (taken, url):
            self.helper.shell('true', callback_url=url)
            path, headers, body = taken.get(timeout=20)
        headers = {name: value for name, value in headers.items() if not name.lower().startswith('x-')}
        with self.assertRaisesRegex(ValueError, 'not signed with this key'):
            sidecar__callback.verify_callback(rig.key(), path, headers, body)

    def test_what_is_no_callback_is_told(self):
        request, deep = self.call('true'), []
        for _ in range(100000):
            deep = [deep]
        for body in (None, [], 'x', {}, {'kwargs': None}, {'kwargs': {'stdout': ''}},
                     {'kwargs': {'stdout': '', 'stderr': '', 'more': ''}},
                     {'kwargs': {'stdout': '', 'stderr': 5}}, {'kwargs': {'stdout': deep, 'stderr': ''}}):
            with self.assertRaisesRegex(ValueError, 'not that of a callback'):
                sidecar__callback.verify_call(rig.key(), dict(request, body=body))
        for nothing in (None, {}, {'headers': None}):
            with self.assertRaisesRegex(ValueError, '_DFF_HTTP_REQUEST'):
                sidecar__callback.verify_call(rig.key(), nothing)

    def test_headers_that_are_no_numbers_are_none(self):
        request = self.call('true')
        for value in ('', 'x', '-1', '1' * 5000):
            headers = {'x-sidecar-exit-code': value, 'x-sidecar-attempt': value}
            headers = dict(request['headers'], **headers)
            got = sidecar__callback.verify_call(rig.key(), dict(request, headers=headers))
            self.assertEqual((got['exitCode'], got['attempt']), (None, None))


if __name__ == '__main__':
    unittest.main()
