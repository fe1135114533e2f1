"""shell() against the real daemon: what a script sends arrives, and what the command wrote comes
back.
"""
import threading
import time
import unittest
from unittest import mock

import rig
import sidecar__helper


class Commands(rig.DaemonCase):
    def test_the_answer_has_the_form_of_the_manual(self):
        status, result = self.helper.shell('echo out; echo err >&2; exit 3')
        self.assertEqual((status, result['ok'], result['message']), (200, True, ''))
        data = result['data']
        self.assertEqual((data['stdout'], data['stderr'], data['exitCode']), ('out\n', 'err\n', 3))

    def test_the_arguments_may_be_given_by_position_as_in_the_manual(self):
        _, result = self.helper.shell('pwd; echo $NAME', True, '/usr', ['NAME=a=b c'], None, 20)
        self.assertEqual(result['data']['stdout'], '/usr\na=b c\n')

    def test_envs_may_be_a_dict(self):
        envs = {'NAME': 'Tom = "x" $HOME', 'GREETING': '你好 😀', 'PORT': 8080, 'EMPTY': ''}
        data = self.run_command('printf "%s|" "$NAME" "$GREETING" "$PORT" "$EMPTY"', envs=envs)
        self.assertEqual(data['stdout'], 'Tom = "x" $HOME|你好 😀|8080||')

    def test_envs_that_would_set_another_variable_are_refused_before_anything_is_sent(self):
        for envs in ({'A=B': 'c'}, {'': 'c'}, {'A': None}, {'A': True}, {'A': ['x']}):
            with self.assertRaises(ValueError):
                self.helper.shell('env', envs=envs)

    def test_commands_and_output_may_be_in_any_language(self):
        data = self.run_command('echo "你好 / \\"x\\" 😀 ñ"; echo Größe >&2')
        self.assertEqual((data['stdout'], data['stderr']), ('你好 / "x" 😀 ñ\n', 'Größe\n'))

    def test_output_that_is_not_utf8_comes_back_byte_for_byte(self):
        data = self.run_command("printf 'a\\377\\000b'; printf 'ok' >&2")
        self.assertEqual(data['stdout'], 'a\ufffd\x00b')
        self.assertEqual(sidecar__helper.output_bytes(data), b'a\xff\x00b')
        self.assertEqual(sidecar__helper.output_bytes(data, 'stderr'), b'ok')

    def test_large_output_comes_back_whole(self):
        data = self.run_command('yes 你好世界 | head -n 400000')
        self.assertTrue(data['stdout'] == '你好世界\n' * 400000, '%d characters' % len(data['stdout']))
        self.assertFalse(data['stdoutTruncated'])

    def test_output_beyond_the_bound_is_said_to_be_cut(self):
        _, result = self.helper.shell('head -c 9000000 /dev/zero | tr "\\0" a')
        self.assertTrue(result['data']['stdout'] == 'a' * ((8 << 20) - (64 << 10)))
        self.assertTrue(result['data']['stdoutTail'] == 'a' * (64 << 10))
        self.assertTrue(sidecar__helper.output_bytes(result['data'], 'stdoutTail') == b'a' * (64 << 10))
        self.assertEqual(sidecar__helper.output_bytes(result['data'], 'stderrTail'), b'')
        self.assertEqual((result['data']['stdoutTruncated'], result['data']['stdoutBytes']), (True, 9000000))
        self.assertIn('MAX_OUTPUT', result['message'])

    def test_the_commands_own_timeout_and_limits_reach_the_daemon(self):
        data = self.run_command('ulimit -n; sleep 30', command_timeout=0.3, limits={'openFiles': 77})
        self.assertEqual((data['stdout'], data['timedOut'], data['signal']), ('77\n', True, 'SIGTERM'))

    def test_without_waiting_the_answer_comes_at_once_and_the_result_later(self):
        gate, open_gate = self.new_gate()
        data = self.run_command(gate + '; echo late', wait=False)
        self.assertEqual((data['stdout'], data['stderr'], data['state']), ('', '', 'running'))
        open_gate()
        self.assertEqual(self.helper.result(data['jobId'])['stdout'], 'late\n')

    def test_a_job_id_that_is_used_again_returns_the_first_run(self):
        path, mark = self.new_marker()
        for _ in range(3):
            self.assertEqual(self.run_command(mark + '; echo done', job_id='again-' + path[-32:])['stdout'], 'done\n')
        self.assertRunOnce(path)


class Time(rig.DaemonCase):
    def test_the_timeout_limits_the_waiting_and_not_the_command(self):
        path, mark = self.new_marker()
        gate, open_gate = self.new_gate()
        with self.assertRaises(sidecar__helper.SidecarTimeout) as caught:
            self.helper.shell('%s; %s; echo survived' % (gate, mark), timeout=0.3)
        open_gate()
        self.assertIn(caught.exception.job_id, str(caught.exception))
        self.assertEqual(self.helper.result(caught.exception.job_id)['stdout'], 'survived\n')
        self.assertRunOnce(path)

    def test_the_stock_connectors_ten_seconds_are_the_default(self):
        with mock.patch.object(sidecar__helper, 'TIMEOUT', 0.3), self.assertRaises(sidecar__helper.SidecarTimeout):
            self.helper.shell('sleep 30')
        self.assertEqual(sidecar__helper.TIMEOUT, 10)

    def test_an_answer_that_trickles_in_is_not_waited_for_beyond_the_timeout(self):
        def trickle(connection):
            rig.Request(connection)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n')
            for _ in range(200):
                connection.sendall(b' ')
                time.sleep(0.05)
        with rig.server(trickle) as url:
            began = time.monotonic()
            with self.assertRaises(sidecar__helper.SidecarTimeout):
                rig.make_helper(url).shell('true', timeout=0.5)
            self.assertLess(time.monotonic() - began, 5)  # the answer takes 10 s


class Refusals(rig.DaemonCase):
    def refused(self, status, helper, *arguments, **named):
        with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
            helper.shell(*arguments, **named)
        self.assertEqual(caught.exception.status, status)
        self.assertIsNone(caught.exception.job_id)
        return str(caught.exception)

    def test_a_refusal_says_what_to_change(self):
        self.assertIn('command is missing or empty', self.refused(400, self.helper, ''))
        nowhere = rig.SCRATCH + '/nowhere'
        self.assertIn(nowhere, self.refused(400, self.helper, 'true', workdir=nowhere))
        self.assertIn('MAX_BODY', self.refused(413, self.helper, 'x' * 3000000))
        self.assertIn('surrogate', self.refused(400, self.helper, 'echo \ud800'))

    def test_a_wrong_key_is_told(self):
        stranger = sidecar__helper.SidecarHelper.from_url(rig.URL, 'another key')
        self.assertIn('compare the secret key', self.refused(401, stranger, 'true'))

    def test_a_wrong_clock_is_told(self):
        now = time.time
        with mock.patch('time.time', lambda: now() - 4000):
            self.assertIn('clock', self.refused(401, self.helper, 'true'))

    def test_an_unknown_job_is_told(self):
        with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
            self.helper.result('never-was')
        self.assertEqual(caught.exception.status, 404)

    def test_a_busy_sidecar_is_asked_again_until_the_timeout_and_no_longer(self):
        for _ in range(4):  # MAX_RUNNING
            self.helper.shell('sleep 60', wait=False)
        began = time.monotonic()
        with self.assertRaises(sidecar__helper.SidecarBusy) as caught:
            self.helper.shell('true', timeout=1.5)
        self.assertEqual((caught.exception.status, caught.exception.retry_after), (503, 1))
        self.assertGreater(time.monotonic() - began, 0.9)  # it was asked again after 1 s
        self.assertLess(time.monotonic() - began, 2)  # and not a third time
        oldest = self.helper.jobs()[3]['jobId']
        threading.Timer(0.2, self.helper.cancel, [oldest]).start()
        self.assertEqual(self.run_command('echo at last')['stdout'], 'at last\n')


class Arguments(rig.DaemonCase):
    def test_a_host_that_can_be_none_is_told(self):
        for host in ('', 'a b', 'a\r\nb', 'a\x00b', 'a\n'):
            with self.assertRaisesRegex(ValueError, 'the host must be a name or an address'):
                sidecar__helper.SidecarHelper(host, 1, 'k')
        for host in ('a..b', 'a' * 70):  # nobody is asked for these
            for protocol in ('http', 'https'):
                helper = sidecar__helper.SidecarHelper(host, 1, 'k', protocol)
                with self.assertRaisesRegex(sidecar__helper.SidecarUnreachable, 'cannot connect to'):
                    helper.shell('true')

    def test_a_timeout_that_no_system_call_knows_is_refused(self):
        for timeout in (float('inf'), float('nan'), 1e300, 2000001):
            with self.assertRaisesRegex(ValueError, 'the timeout must be at most 2000000 seconds'):
                self.helper.shell('true', timeout=timeout)
        self.assertEqual(self.helper.shell('echo well', timeout=2000000)[1]['data']['stdout'], 'well\n')


class Generic(rig.DaemonCase):
    def test_call_sends_any_signed_request(self):
        self.assertEqual(self.helper.call('get', '/jobs')[0], 200)
        status, answer = self.helper.call('POST', '/shell', {'command': 'echo 你好'})
        self.assertEqual((status, answer['data']['stdout']), (200, '你好\n'))
        status, text = self.helper.call('GET', '/')
        self.assertTrue(text.startswith('Welcome to DataFlux Func Sidecar\n* Version: '), text)

    def test_a_path_that_would_be_sent_otherwise_than_signed_is_refused(self):
        for path in ('jobs', '/jobs/a b', '/jobs/ä', '/jobs\r\nX: y', ''):
            with self.assertRaises(ValueError):
                self.helper.call('GET', path)


if __name__ == '__main__':
    unittest.main()
