"""What a script in Func has: a connector, variables that may be missing, functions to publish."""
import builtins
import contextlib
import importlib
import io
import json
import unittest
from unittest import mock

import rig
import sidecar__callback
import sidecar__helper
import standin
import test_callback

PUBLISHED = ['run', 'follow', 'permissions', 'deploy', 'run_later', 'cb']  # of the example


def settings(url=rig.URL, **more):
    """Returns the settings of a connector for a URL."""
    protocol, _, address = url.partition('://')
    host, _, port = address.partition(':')
    return dict(dict(host=host, port=int(port), protocol=protocol, secretKey=rig.key()), **more)


def connector(timeout=None, **more):
    return standin.DFF({'sidecar': settings(**more)}).CONN('sidecar', timeout=timeout)


class Connector(rig.DaemonCase):
    def test_a_helper_is_made_of_a_connector(self):
        helper = sidecar__helper.SidecarHelper.from_connector(connector())
        self.assertEqual(helper.shell('echo 你好')[1]['data']['stdout'], '你好\n')
        self.assertEqual(repr(helper), 'SidecarHelper(%r)' % rig.URL)

    def test_a_helper_is_made_of_a_connector_for_tls(self):
        stock = connector(url=rig.TLS_URL)
        helper = sidecar__helper.SidecarHelper.from_connector(stock, ca_file='ca.pem')
        self.assertEqual(helper.shell('echo x')[1]['data']['stdout'], 'x\n')

    def test_empty_fields_are_the_defaults_of_the_form(self):
        for config in ({'secretKey': 'k'}, dict(secretKey='k', host='', port=None, protocol=None)):
            helper = sidecar__helper.SidecarHelper.from_connector(standin.StockHelper(config))
            self.assertEqual(repr(helper), "SidecarHelper('http://172.17.0.1:8099')")

    def test_what_is_no_connector_is_told(self):
        for wrong in (None, {}, 'sidecar', 5, standin.StockHelper(None)):
            with self.assertRaisesRegex(ValueError, r"the object that DFF.CONN\('sidecar'\) returns"):
                sidecar__helper.SidecarHelper.from_connector(wrong)
        with self.assertRaisesRegex(ValueError, 'the secret key is None'):
            sidecar__helper.SidecarHelper.from_connector(connector(secretKey=None))
        for wrong in (dict(host=5), dict(host='a b'), dict(port='x'), dict(protocol='ftp')):
            with self.assertRaises(ValueError):
                sidecar__helper.SidecarHelper.from_connector(connector(**wrong))


class Variables(unittest.TestCase):
    def test_a_url_without_a_port_is_8099(self):
        for url, want in (('http://172.17.0.1', 'http://172.17.0.1:8099'),
                          ('https://host/', 'https://host:8099'),
                          ('http://[::1]', 'http://[::1]:8099'),
                          ('http://[::1]:1/', 'http://[::1]:1')):
            helper = sidecar__helper.SidecarHelper.from_url(url, 'k')
            self.assertEqual(repr(helper), 'SidecarHelper(%r)' % want)

    def test_a_missing_variable_is_told(self):
        with self.assertRaisesRegex(ValueError, 'the URL is None: the environment variable'):
            sidecar__helper.SidecarHelper.from_url(None, 'k')
        with self.assertRaisesRegex(ValueError, 'the secret key is None: the environment variable'):
            sidecar__helper.SidecarHelper.from_url(rig.URL, None)
        with self.assertRaisesRegex(ValueError, 'the secret key is None: the environment variable'):
            sidecar__callback.verify_call(None, {'headers': {'a': 'b'}})


class Repair(rig.DaemonCase):
    def test_the_stock_connector_needs_it(self):
        with self.assertRaisesRegex(TypeError, 'timeout'):
            connector().shell('hostname')
        with self.assertRaisesRegex(AttributeError, 'item'):
            connector().shell('hostname', envs={'A': 'b'})
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            connector().call('POST', '/shell', body={'command': 'true'})
        self.assertTrue(rig.key() in printed.getvalue().encode().decode('unicode_escape')
                        or 'key:' in printed.getvalue())

    def test_shell_works_again_with_its_arguments(self):
        stock = connector()
        self.assertIs(sidecar__helper.repair(stock), stock)
        self.assertIsInstance(stock, standin.StockHelper)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            status, result = stock.shell('pwd; echo $A', True, '/usr', {'A': 'b c'})
            stock.shell('true', workdir='/usr', envs=['A=b'], timeout=3)
        self.assertEqual((status, result['data']['stdout']), (200, '/usr\nb c\n'))
        self.assertEqual(printed.getvalue(), '')

    def test_call_works_in_both_forms(self):
        stock = sidecar__helper.repair(connector())
        status, answer = stock.call('POST', '/shell', body={'command': 'echo $A', 'envs': {'A': 'b'}})
        self.assertEqual((status, answer['data']['stdout']), (200, 'b\n'))
        _, answer = stock.call('POST /shell', body=json.dumps({'command': 'echo x'}), timeout=3)
        self.assertEqual(answer['data']['stdout'], 'x\n')
        self.assertEqual(stock.call('GET', '/jobs')[0], 200)
        with self.assertRaisesRegex(ValueError, 'query'):
            stock.call('GET', '/jobs', {'a': 'b'})

    def test_the_timeout_is_the_given_one_or_that_of_the_connector(self):
        stock = sidecar__helper.repair(connector())
        for arguments, named in (((), dict(timeout=0.3)), ((True, None, None, None, 0.3), {})):
            with self.assertRaises(sidecar__helper.SidecarTimeout):
                stock.shell('sleep 60', *arguments, **named)
        stock = sidecar__helper.repair(connector(timeout=0.3))
        with self.assertRaises(sidecar__helper.SidecarTimeout):
            stock.shell('sleep 60')
        with self.assertRaises(sidecar__helper.SidecarTimeout):
            stock.call('POST', '/shell', body={'command': 'sleep 60'})

    def test_a_refusal_raises_as_before(self):
        with self.assertRaisesRegex(Exception, 'compare the secret key'):
            sidecar__helper.repair(connector(secretKey='another')).shell('true')

    def test_other_objects_stay_as_they_are(self):
        sidecar__helper.repair(connector())
        with self.assertRaises(TypeError):
            connector().shell('hostname')


class Check(rig.DaemonCase):
    def failed(self, command, **arguments):
        with self.assertRaises(sidecar__helper.SidecarFailed) as caught:
            self.helper.shell(command, check=True, **arguments)
        self.assertEqual(caught.exception.job_id, caught.exception.data['jobId'])
        return caught.exception

    def test_a_command_that_succeeds_returns_as_ever(self):
        status, result = self.helper.shell('echo fine', check=True)
        self.assertEqual((status, result['data']['stdout']), (200, 'fine\n'))

    def test_a_command_that_fails_raises_its_exit_code_and_the_end_of_stderr(self):
        error = self.failed('echo out; seq 1000 >&2; echo wrong >&2; exit 3')
        self.assertEqual((error.exit_code, error.data['stdout']), (3, 'out\n'))
        self.assertRegex(str(error), r'ended with exit code 3: .*\\n1000\\nwrong \(job ')
        self.assertLess(len(str(error)), 1200)
        self.assertIn('exit code 5: nothing on stderr', str(self.failed('exit 5')))

    def test_a_signal_and_the_timeout_are_failures(self):
        error = self.failed('kill -9 $$')
        self.assertIn('by the signal SIGKILL', str(error))
        self.assertIsNone(error.exit_code)
        error = self.failed('trap "exit 0" TERM; sleep 30 & wait', command_timeout=0.3)
        self.assertIn('did not end by itself (timed out)', str(error))

    def test_without_waiting_there_is_nothing_to_check(self):
        with self.assertRaisesRegex(ValueError, 'check=True needs wait=True'):
            self.helper.shell('true', wait=False, check=True)

    def test_a_sidecar_without_exit_codes_is_told(self):
        def original(connection):
            rig.Request(connection)
            connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n'
                               b'{"ok":true,"message":"","data":{"stdout":"","stderr":""}}')
        with rig.server(original) as url:
            with self.assertRaisesRegex(sidecar__helper.SidecarFailed, 'not report exit codes'):
                rig.make_helper(url).shell('true', check=True)


class Example(rig.DaemonCase):
    @contextlib.contextmanager
    def example(self, callback_url=None):
        func = standin.DFF({'sidecar': settings()}, sidecar_callback_url=callback_url)
        with mock.patch.object(builtins, 'DFF', func, create=True):
            import sidecar__example
            importlib.reload(sidecar__example)
            yield sidecar__example, func

    def test_its_functions_are_published(self):
        with self.example() as (_, func):
            self.assertEqual(list(func.published), PUBLISHED)

    def test_it_runs_a_command(self):
        with self.example() as (script, _):
            self.assertEqual(script.run('pwd; echo 你好 $NAME', 'Tom'), '/tmp\n你好 Tom\n')
            with self.assertRaisesRegex(Exception, 'ended with exit code 3: wrong'):
                script.run('echo wrong >&2; exit 3')

    def test_it_follows_a_command(self):
        with self.example() as (script, _):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                self.assertEqual(script.follow('echo 1; echo 2; exit 4'), 4)
        self.assertEqual(printed.getvalue(), '1\n2\n')

    def test_it_runs_an_action(self):
        with self.example() as (script, func):
            self.assertEqual(script.permissions()['key'], 'default')
            func.connectors['sidecar'] = settings(secretKey=rig.key('deploy'))
            self.assertEqual(script.permissions()['key'], 'deploy')
            script._DFF_FUNC_ID = 'sidecar__example.deploy'  # as Func does
            self.assertEqual(script.deploy('v1.3'), 'v1.3 to \n')
            self.assertEqual(self.helper.jobs()[0]['labels'], {'func': 'sidecar__example.deploy'})
            with self.assertRaisesRegex(Exception, r'400.*VERSION.*v\[0-9\]'):
                script.deploy('1.3')

    def test_its_callback_function_verifies_the_call(self):
        with test_callback.receiver() as (taken, url), self.example(url) as (script, _):
            job_id = script.run_later('echo out; echo err >&2; exit 4')
            path, headers, body = taken.get(timeout=20)
            request = standin.http_request(path, headers, body)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                with mock.patch.object(builtins, '_DFF_HTTP_REQUEST', request, create=True):
                    self.assertEqual(script.cb(**request['body']['kwargs']), 'received')
                request['body']['kwargs']['stdout'] = 'forged'
                with mock.patch.object(builtins, '_DFF_HTTP_REQUEST', request, create=True):
                    with self.assertRaisesRegex(ValueError, 'not signed with this key'):
                        script.cb(**request['body']['kwargs'])
        self.assertEqual(printed.getvalue(), 'job %s, attempt 1: exit code 4\n'
                         'stdout: out\n\nstderr: err\n\n' % job_id)

    def test_a_missing_callback_url_is_told(self):
        with self.example() as (script, _):
            with self.assertRaisesRegex(Exception, 'environment variable sidecar_callback_url'):
                script.run_later()


if __name__ == '__main__':
    unittest.main()
