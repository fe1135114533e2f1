"""The key signs as the contract says, and cannot be recovered from anything that the scripts keep.
"""
import contextlib
import gc
import io
import json
import time
import traceback
import types
import unittest
from unittest import mock

import rig
import sidecar__callback
import sidecar__helper
import sidecar__wire
import standin


class Signature(unittest.TestCase):
    def test_every_golden_vector_is_signed_alike(self):
        with open('vectors.json', encoding='utf-8') as file:
            vectors = json.load(file)
        self.assertGreaterEqual(len(vectors), 6)
        for v in vectors:
            key = sidecar__wire.SigningKey(v['secretKey'])
            got = key.sign(v['method'], v['path'], v['nonce'], v['timestamp'], v['body'].encode('utf-8'))
            self.assertEqual(got, v['signature'], v['name'])

    def test_the_query_is_not_signed(self):
        key = sidecar__wire.SigningKey('k')
        self.assertEqual(key.sign('POST', '/a?b=c?d', 'n', '1', b''), key.sign('POST', '/a', 'n', '1', b''))

    def test_a_key_that_cannot_sign_is_refused(self):
        for unusable in ('', None, 5, b'bytes', 'half a character \ud800'):
            with self.assertRaisesRegex(ValueError, 'secret key'):
                sidecar__helper.SidecarHelper('127.0.0.1', 1, unusable)
            headers = {'X-Auth-Signature': '', 'X-Auth-Timestamp': str(int(time.time()))}
            with self.assertRaisesRegex(ValueError, 'the secret key'):
                sidecar__callback.verify_callback([unusable], '/', headers, b'{"kwargs":{}}')


def reachable(start):
    """All texts that can be reached from an object without passing through code or modules."""
    seen, todo, texts = set(), [start], []
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, (type, types.ModuleType, types.FunctionType, types.FrameType)):
            continue
        seen.add(id(one))
        if isinstance(one, (str, bytes, bytearray)):
            texts.append(one if isinstance(one, str) else bytes(one).decode('utf-8', 'replace'))
        todo.extend(gc.get_referents(one))
    return texts


class Secrecy(rig.DaemonCase):
    def assertKeyless(self, what, texts):
        # The message of a failure must not show it either.
        self.assertFalse(any(rig.key() in text for text in texts), 'the key is in ' + what)

    def caught(self, expected, action, *arguments, **named):
        try:  # assertRaises would drop the traceback
            action(*arguments, **named)
        except expected as error:
            report = list(traceback.TracebackException.from_exception(error, capture_locals=True).format())
            self.assertIn('/sidecar__', ''.join(report))
            self.assertKeyless('the report of ' + type(error).__name__, report)
            self.assertKeyless(type(error).__name__, [str(error), repr(error)] + reachable(error))
            return error
        self.fail('there was no ' + expected.__name__)

    def errors(self):
        """Provokes every kind of error there is."""
        Refused, helper = sidecar__helper.SidecarRefused, self.helper
        yield self.caught(Refused, helper.shell, '')
        yield self.caught(Refused, helper.job, 'never-was')
        yield self.caught(sidecar__helper.SidecarTimeout, helper.shell, 'sleep 60', timeout=0.2)
        yield self.caught(sidecar__helper.SidecarUnreachable, rig.make_helper('http://127.0.0.1:1').shell, 'true')
        yield self.caught(sidecar__helper.SidecarUnreachable, rig.make_helper(rig.TLS_URL).shell, 'true')
        with rig.server(lambda connection: None) as url, mock.patch.object(sidecar__helper, 'PAUSES', (0.01,)):
            yield self.caught(sidecar__helper.SidecarLost, rig.make_helper(url).shell, 'true')
        for _ in range(3):
            helper.shell('sleep 60', wait=False)
        yield self.caught(sidecar__helper.SidecarBusy, helper.shell, 'true', timeout=0.5)
        yield self.caught(ValueError, helper.call, 'GET', '/\x00')
        yield self.caught(TypeError, helper.shell, b'bytes')

    def test_no_error_holds_the_key_nor_does_a_traceback_with_its_variables(self):
        kinds = {type(error).__name__ for error in self.errors()}
        self.assertEqual(len(kinds), 7, kinds)

    def test_arguments_in_the_wrong_order_do_not_show_the_key(self):
        make = sidecar__helper.SidecarHelper
        for swapped in (lambda: make('127.0.0.1', rig.key(), 8099), lambda: make('127.0.0.1', 8099, 'k', rig.key()),
                        lambda: make.from_url(rig.key(), rig.URL)):
            with self.assertRaises(ValueError) as caught:
                swapped()
            self.assertKeyless('the error', [str(caught.exception), repr(caught.exception)])

    def test_a_helper_that_cannot_be_made_leaves_no_key_in_the_traceback(self):
        for url in ('http://', 'ftp://127.0.0.1:1', 'http://a:b@127.0.0.1:1', 'http://127.0.0.1:1/x', '',
                    None):
            self.caught(ValueError, lambda: sidecar__helper.SidecarHelper.from_url(url, rig.key()))
        self.caught(ValueError, lambda: sidecar__helper.SidecarHelper('127.0.0.1', 0, rig.key()))
        self.caught(ValueError, lambda: sidecar__helper.SidecarHelper('127.0.0.1', 1, rig.key(), 'ftp'))
        for ca_file in ('no such file', '.', 'vectors.json'):
            error = self.caught(
                ValueError, lambda: sidecar__helper.SidecarHelper('127.0.0.1', 1, rig.key(), 'https', ca_file))
            self.assertIn('the ca_file cannot be used', str(error))

    def test_a_key_in_the_place_of_the_ca_file_is_not_shown(self):
        with self.assertRaises(ValueError) as caught:
            sidecar__helper.SidecarHelper('127.0.0.1', 1, 'k', 'https', rig.key())
        self.assertKeyless('the error', [str(caught.exception), repr(caught.exception)])

    def test_a_refused_callback_leaves_no_key_in_the_traceback(self):
        self.caught(ValueError, lambda: sidecar__callback.verify_callback(rig.key(), '/', {}, b'{}'))
        body = {'kwargs': {'stdout': '', 'stderr': ''}}
        request = {'originalUrl': '/', 'headers': {'a': 'b'}, 'body': body}
        self.caught(ValueError, lambda: sidecar__callback.verify_call(rig.key(), request))
        self.caught(ValueError, lambda: sidecar__callback.verify_call([rig.key(), None], request))

    def test_a_connector_leaves_no_key_in_the_traceback(self):
        from_connector = sidecar__helper.SidecarHelper.from_connector
        for wrong in (dict(host='a b'), dict(port='x'), dict(protocol='ftp')):
            stock = standin.StockHelper(dict(secretKey=rig.key(), **wrong))
            self.caught(ValueError, lambda: from_connector(stock))
            self.caught(ValueError, lambda: sidecar__helper.repair(stock))
        self.caught(ValueError, lambda: from_connector(rig.key()))
        request = {'headers': {'a': 'b'}, 'body': {}}
        self.caught(ValueError, lambda: sidecar__callback.verify_call(stock, request))
        helper = from_connector(standin.StockHelper(dict(secretKey=rig.key(), port=1)))
        self.assertKeyless('the helper', reachable(helper))

    def test_a_helper_does_not_show_its_key(self):
        self.helper.shell('true')
        self.assertEqual(repr(self.helper), 'SidecarHelper(%r)' % rig.URL)
        self.assertKeyless('the helper', [repr(vars(self.helper)), str(self.helper)] + reachable(self.helper))
        with self.assertRaises(Exception):
            __import__('pickle').dumps(self.helper)

    def test_the_search_for_the_key_finds_one_that_is_kept(self):
        self.helper.kept = [{'deep': (rig.key().encode('utf-8'),)}]
        with self.assertRaises(AssertionError):
            self.assertKeyless('the helper', reachable(self.helper))

    def test_nothing_is_printed(self):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            job_id = self.run_command('echo a; echo b', wait=False)['jobId']
            list(self.helper.lines(job_id))
            with self.assertRaises(sidecar__helper.SidecarRefused):
                self.helper.shell('')
        self.assertEqual((out.getvalue(), err.getvalue()), ('', ''))


if __name__ == '__main__':
    unittest.main()
