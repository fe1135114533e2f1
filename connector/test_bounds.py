"""Answers that no Sidecar gives: each is bounded, and ends with an error that says why and cannot
steer a terminal.
"""
import contextlib
import json
import sys
import threading
import time
import unittest
from unittest import mock

import rig
import sidecar__helper
import sidecar__wire

HOSTILE = '\x1b[2J\x1b]0;t\x07\x7f\x85\x9b2J\u202e\u2028\r\nforged'
OK = b'HTTP/1.1 200 OK\r\n\r\n'


def endless(head, repeated):
    """Sends until the other side hangs up."""
    def serve(connection):
        rig.Request(connection)
        connection.sendall(head)
        while True:
            connection.sendall(repeated * (65536 // len(repeated)))
    return serve


def fixed(answer):
    def serve(connection):
        rig.Request(connection)
        connection.sendall(answer)
    return serve


@mock.patch.object(sidecar__helper, 'PAUSES', (0.0,))
class Bounds(unittest.TestCase):
    def fails(self, serve, call=lambda helper: helper.shell('true', job_id='mine', timeout=60)):
        """The error of a call; nothing else may be raised."""
        with rig.server(serve) as url:
            with self.assertRaises(sidecar__helper.SidecarError) as caught:
                call(rig.make_helper(url))
        self.assertEqual([c for c in str(caught.exception) if c in HOSTILE[:-6] and not c.isprintable()], [])
        return caught.exception

    def test_an_answer_without_end_is_bounded(self):
        with mock.patch.object(sidecar__wire, 'MAX_ANSWER', 1 << 20):
            for head in (b'{"data":{"stdout":"', b'[', b''):
                error = self.fails(endless(OK + head, b'x'))
                self.assertIsInstance(error, sidecar__helper.SidecarUnreadable)
                self.assertIn('more than 1048576 bytes', str(error))
                self.assertEqual(error.job_id, 'mine')

    def test_an_answer_that_never_pauses_ends_at_the_deadline(self):
        for head, repeated in ((b'HTTP/1.1 200 OK\r\nX: ', b'x'), (b'', b'HTTP/1.1 100 Continue\r\n\r\n'),
                               (OK, b' '), (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', b'1\r\n \r\n')):
            gate = threading.Event()
            self.addCleanup(gate.set)

            def serve(connection, head=head, repeated=repeated, gate=gate):
                rig.Request(connection)
                connection.sendall(head)
                while not gate.wait(0.01):
                    connection.sendall(repeated)
            began = time.monotonic()
            error = self.fails(serve, lambda helper: helper.call('GET', '/jobs', timeout=0.5))
            self.assertIsInstance(error, sidecar__helper.SidecarTimeout, head)
            self.assertLess(time.monotonic() - began, 20)

    def test_a_refusal_without_end_is_bounded(self):
        error = self.fails(endless(b'HTTP/1.1 502 Bad Gateway\r\n\r\n', b'<p>'))
        self.assertIsInstance(error, sidecar__helper.SidecarLost)
        self.assertLess(len(str(error)), 1000)
        error = self.fails(fixed(b'HTTP/1.1 400 x\r\n\r\n{"ok":false,"message":"%s"}' % (b'y' * 60000)))
        self.assertIsInstance(error, sidecar__helper.SidecarRefused)
        self.assertLess(len(str(error)), 3000)

    def test_deep_json_is_refused_at_any_recursion_limit(self):
        for limit in (sys.getrecursionlimit(), 10 ** 6):
            with recursion_limit(limit):
                for opening, closing in ((b'[', b']'), (b'{"a":', b'}')):
                    for depth in (101, 100000):
                        answer = opening * depth + b'1' + closing * depth
                        error = self.fails(fixed(OK + answer))
                        self.assertIsInstance(error, sidecar__helper.SidecarUnreadable)
                        self.assertIn('nested more than 100 deep', str(error))
                        error = self.fails(fixed(b'HTTP/1.1 500 x\r\n\r\n' + answer))
                        self.assertEqual(error.status, 500)

    def test_brackets_in_texts_are_no_depth(self):
        text = '[{' * 1000 + '\\"' + '[' * 1000 + '"' + '\n\\'
        answer = {'ok': True, 'message': '', 'data': {'stdout': text, 'list': [[]] * 1000}}
        with rig.server(fixed(OK + json.dumps(answer).encode('ascii'))) as url:
            self.assertEqual(rig.make_helper(url).shell('true'), (200, answer))

    def test_the_look_at_depth_takes_a_time_that_grows_with_the_length_alone(self):
        for text in (b'"' + b'\\"' * 100000, b'"' + b'\\\\' * 100000, b'"' * 100000, b'[]' * 100000, b'\\' * 100001):
            self.assertTrue(sidecar__wire._is_shallow(text))
        self.assertFalse(sidecar__wire._is_shallow(b'["\\\\",' + b'[' * 100))
        self.assertTrue(sidecar__wire._is_shallow(b'["\\",' + b'[' * 100))

    def test_a_number_of_a_million_digits_is_no_number(self):
        error = self.fails(fixed(OK + b'{"data":' + b'1' * 1000000 + b'}'), lambda helper: helper.job('a'))
        self.assertIn('not that of a Sidecar', str(error))

    def test_lists_of_other_forms_are_no_jobs(self):
        for listed in (b'[1]', b'["a"]', b'[{}]', b'[null]', b'{}', b'1'):
            plan = [b'', OK + b'{"data":{"jobs":' + listed + b'}}', b'', b'', b'']
            self.fails(lambda connection, plan=plan: fixed(plan.pop(0) if plan else b'')(connection))

    def test_no_error_can_steer_a_terminal(self):
        text = json.dumps(HOSTILE).encode('ascii')
        raw = HOSTILE.replace('\r', '').replace('\n', '').encode('utf-8')
        for answer in (
                b'HTTP/1.1 400 x\r\n\r\n{"ok":false,"message":' + text + b'}',
                b'HTTP/1.1 503 x\r\nRetry-After: 100\r\n\r\n{"ok":false,"message":' + text + b'}',
                b'HTTP/1.1 502 x\r\n\r\n<html>' + HOSTILE.encode('utf-8'),
                b'HTTP/1.1 400 x\r\n\r\n{"message":{"a":[' + text + b']}}',
                b'HTTP/1.1 ' + raw + b'\r\n\r\n', raw + b'\r\n\r\n',
                b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + raw + b'\r\n'):
            self.fails(fixed(answer))

    def test_text_of_any_language_stays_as_it_is(self):
        text = 'café 你好\u3000😀 «x»'
        self.assertEqual(str(sidecar__helper.SidecarError(text)), text)


@contextlib.contextmanager
def recursion_limit(limit):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
