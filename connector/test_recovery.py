"""Connections that break: a command runs once, and its caller is told what can be told."""
import contextlib
import socket
import time
import unittest
from unittest import mock

import rig
import sidecar__helper
import sidecar__wire

# Ends the network role, which is the executor's other child. A command is of the same user as both.
KILL_NETWORK_ROLE = 'for p in /proc/[0-9]*; do read -r line < $p/stat && case $line in *") "[RSD]" $PPID "*) ' \
                    '[ ${p#/proc/} = $$ ] || kill -9 ${p#/proc/};; esac; done 2>/dev/null'
KILL_EXECUTOR = 'kill -9 $PPID'


class BrokenConnections(rig.DaemonCase):
    @contextlib.contextmanager
    def relayed(self, *plan):
        relay = rig.Relay(*plan)
        with rig.server(relay) as url:
            yield relay, rig.make_helper(url)

    def test_a_request_that_never_arrived_is_sent_again_with_the_same_id_and_time(self):
        path, mark = self.new_marker()
        with self.relayed('drop') as (relay, helper):
            _, result = helper.shell(mark + '; echo done')
        self.assertEqual(result['data']['stdout'], 'done\n')
        self.assertEqual(relay.lines(), ['POST /shell', 'GET /jobs', 'POST /shell'])
        first, second = relay.posts()
        self.assertEqual(first.body, second.body)
        self.assertEqual(first.headers['x-auth-timestamp'], second.headers['x-auth-timestamp'])
        self.assertNotEqual(first.headers['x-auth-nonce'], second.headers['x-auth-nonce'])
        self.assertRunOnce(path)

    def test_a_command_that_runs_on_is_waited_for_and_not_sent_again(self):
        path, mark = self.new_marker()
        with self.relayed('lose') as (relay, helper):
            _, result = helper.shell('sleep 1; %s; echo late; exit 5' % mark)
        self.assertEqual((result['data']['stdout'], result['data']['exitCode']), ('late\n', 5))
        self.assertEqual(len(relay.posts()), 1)
        self.assertRunOnce(path)

    def test_an_answer_that_was_cut_short_is_had_whole(self):
        path, mark = self.new_marker()
        with self.relayed('cut') as (relay, helper):
            _, result = helper.shell(mark + '; echo whole')
        self.assertEqual(result['data']['stdout'], 'whole\n')
        self.assertEqual(len(relay.posts()), 1)
        self.assertRunOnce(path)

    def test_without_waiting_the_job_is_found_again(self):
        path, mark = self.new_marker()
        with self.relayed('lose') as (relay, helper):
            _, result = helper.shell(mark + '; echo x; sleep 60', wait=False)
        data = result['data']
        self.assertEqual((data['stdout'], data['stderr'], data['state']), ('', '', 'running'))
        self.assertEqual((self.helper.jobs()[0]['jobId'], len(relay.posts())), (data['jobId'], 1))
        self.assertRunOnce(path)

    def test_a_request_too_old_to_be_vouched_for_is_not_carried_out(self):
        path, mark = self.new_marker()
        now = time.time
        with mock.patch.object(sidecar__helper, 'PAUSES', (2.1,)), mock.patch('time.time', lambda: now() - 299):
            with self.relayed('drop') as (relay, helper), self.assertRaises(sidecar__helper.SidecarLost) as caught:
                helper.shell(mark)
        first, second = relay.posts()
        self.assertEqual(first.headers['x-auth-timestamp'], second.headers['x-auth-timestamp'])
        self.assertEqual(caught.exception.job_id, first.body['jobId'])
        self.assertEqual(self.run_command('ls ' + path)['stdout'], '')

    def test_the_tries_are_bounded(self):
        quick = mock.patch.object(sidecar__helper, 'PAUSES', (0.01, 0.02))
        with quick, self.relayed(*['drop'] * 20) as (relay, helper):
            with self.assertRaises(sidecar__helper.SidecarLost):
                helper.shell('true')
            self.assertEqual(relay.lines(), ['POST /shell', 'GET /jobs', 'GET /jobs'])
            with self.assertRaises(sidecar__helper.SidecarLost):
                helper.jobs()
            with self.assertRaises(sidecar__helper.SidecarLost):
                list(helper.output('x'))
        self.assertEqual(len(relay.requests), 9)

    def test_reading_and_cancelling_are_tried_again(self):
        job_id = self.run_command('sleep 60', wait=False)['jobId']
        with self.relayed('drop', 'pass', 'drop', 'pass', 'lose') as (relay, helper):
            self.assertEqual(helper.jobs()[0]['jobId'], job_id)
            self.assertEqual(helper.job(job_id)['jobId'], job_id)
            self.assertEqual(helper.cancel(job_id)['jobId'], job_id)
        self.assertEqual([line.split()[0] for line in relay.lines()], ['GET'] * 4 + ['DELETE'] * 2)

    def test_output_goes_on_where_it_broke(self):
        job_id = self.run_command('yes 0123456789 | head -c 200000')['jobId']
        with self.relayed('cut', 'cut', 'drop') as (relay, helper):
            whole = b''.join(helper.output(job_id))
        self.assertTrue(whole == (b'0123456789\n' * 20000)[:200000], '%d bytes' % len(whole))
        offsets = [request.body['offset'] for request in relay.requests]
        self.assertEqual((len(offsets), offsets[0]), (4, 0))
        self.assertLess(offsets[0], offsets[1])


class KilledRoles(rig.DaemonCase):
    def test_a_command_outlives_the_network_role_and_its_result_comes_all_the_same(self):
        path, mark = self.new_marker()
        status, result = self.helper.shell('%s; %s; sleep 1; echo outlived' % (mark, KILL_NETWORK_ROLE), timeout=30)
        self.assertEqual((status, result['data']['stdout']), (200, 'outlived\n'))
        self.assertRunOnce(path)

    def test_a_followed_output_outlives_the_network_role(self):
        command = 'echo one; sleep 1; %s; echo two; sleep 0.5; echo three' % KILL_NETWORK_ROLE
        job_id = self.run_command(command, wait=False)['jobId']
        self.assertEqual(list(self.helper.lines(job_id, timeout=30)), ['one', 'two', 'three'])

    def test_a_command_that_was_cut_off_by_the_executors_end_is_told_and_not_run_again(self):
        path, mark = self.new_marker()
        with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
            self.helper.shell('%s; %s; sleep 60' % (mark, KILL_EXECUTOR), timeout=30)
        self.assertEqual(caught.exception.status, 409)
        self.assertIn('not run again', str(caught.exception))
        self.assertRunOnce(path)


class OriginalSidecar(unittest.TestCase):
    """Stands for a daemon that ignores jobId: it would run a repeated command twice."""

    def answers(self, answer):
        posts = []

        def serve(connection):
            request = rig.Request(connection)
            if request.line == 'POST /shell':
                posts.append(request)
            else:
                connection.sendall(answer)
        with rig.server(serve) as url, self.assertRaises(sidecar__helper.SidecarLost) as caught:
            rig.make_helper(url).shell('true')
        self.assertIn('not known', str(caught.exception))
        return posts

    def test_nothing_is_sent_twice_to_a_sidecar_that_keeps_no_jobs(self):
        for answer in (b'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}',
                       b'HTTP/1.0 200 OK\r\n\r\n{"ok":true,"message":"","data":{}}',
                       b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data": 1}',
                       b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"data":{"jobs":{}}}',
                       b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nWelcome'):
            self.assertEqual(len(self.answers(answer)), 1, answer)


class Connections(unittest.TestCase):
    def test_an_answer_that_comes_before_the_body_has_gone_is_heard(self):
        def refuse(connection):
            connection.recv(100)
            connection.sendall(b'HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo much')
            time.sleep(0.2)
        with rig.server(refuse) as url, self.assertRaisesRegex(sidecar__helper.SidecarRefused, '413: too much'):
            rig.make_helper(url).shell('x' * 30000000)

    def test_a_host_that_vanishes_is_noticed(self):
        wire = sidecar__wire.Wire(*rig.URL.rpartition('/')[2].split(':'), sidecar__wire.SigningKey('k'), 'http', None)
        with contextlib.closing(wire._connect(sidecar__wire.Deadline(5))) as connection:
            self.assertEqual(connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
            self.assertEqual(connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 30)


class NoConnection(unittest.TestCase):
    def unreachable(self, url, ca_file=None):
        with self.assertRaises(sidecar__helper.SidecarUnreachable) as caught:
            rig.make_helper(url, ca_file).shell('true')
        self.assertIsNone(caught.exception.job_id)
        return str(caught.exception)

    def test_a_refused_connection_says_what_to_look_at(self):
        text = self.unreachable('http://127.0.0.1:1')
        for hint in ('http://127.0.0.1:1', 'refused', 'systemctl status', 'BIND', 'docker0', '172.17.0.1', 'firewall'):
            self.assertIn(hint, text)

    def test_a_name_that_is_none_says_so(self):
        self.assertIn('http://sidecar.invalid:8099', self.unreachable('http://sidecar.invalid:8099'))

    def test_https_works_with_a_certificate_that_is_trusted(self):
        _, result = rig.make_helper(rig.TLS_URL, 'ca.pem').shell('echo 你好')
        self.assertEqual(result['data']['stdout'], '你好\n')

    def test_https_is_refused_without_trust_and_where_no_tls_is_spoken(self):
        self.assertIn('ca_file', self.unreachable(rig.TLS_URL))
        self.assertIn('speak TLS', self.unreachable(rig.URL.replace('http:', 'https:'), 'ca.pem'))


if __name__ == '__main__':
    unittest.main()
