"""Connections that break: a command runs once, and its caller is told what can be told."""
import contextlib
import socket
import threading
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
        with rig.server(relay) as url, mock.patch.object(sidecar__helper, 'PAUSES', rig.QUICK):
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
        gate, open_gate = self.new_gate()
        with self.relayed('lose') as (relay, helper):
            threading.Timer(0.4, open_gate).start()  # after the connection was closed
            _, result = helper.shell('%s; %s; echo late; exit 5' % (gate, mark))
        self.assertEqual((result['data']['stdout'], result['data']['exitCode']), ('late\n', 5))
        self.assertEqual(len(relay.posts()), 1)
        self.assertRunOnce(path)

    def test_whether_a_job_was_there_before_is_not_claimed_after_a_lost_answer(self):
        self.run_command('echo x', job_id='before')
        for fault, job_id, repeated in (
                ('pass', 'before', True), ('lose', 'before', None), ('lose', 'new', None),
                ('pass', 'fresh', False), ('drop', 'later', False), ('lose', None, False)):
            for wait in (True, False):
                chosen = job_id and job_id + ('-' + str(wait) if job_id != 'before' else '')
                with self.relayed(fault) as (_, helper):
                    data = helper.shell('echo x', job_id=chosen, wait=wait)[1]['data']
                self.assertIs(data['repeated'], repeated, (fault, job_id, wait))

    def test_a_command_that_is_longer_than_what_is_listed_of_it_is_known_again(self):
        path, mark = self.new_marker()
        with self.relayed('lose') as (relay, helper):
            _, result = helper.shell('%s; echo %s' % (mark, 'ä' * 150))
        self.assertEqual((result['data']['stdout'], len(relay.posts())), ('ä' * 150 + '\n', 1))
        self.assertRunOnce(path)

    def test_an_answer_that_was_cut_within_its_headers_is_had_whole(self):
        path, mark = self.new_marker()
        with self.relayed('head', 'head', 'pass', 'pass', 'head') as (relay, helper):
            _, result = helper.shell(mark + '; echo whole')
        self.assertEqual(result['data']['stdout'], 'whole\n')
        self.assertEqual(len(relay.posts()), 1)
        self.assertRunOnce(path)

    def test_an_answer_that_was_cut_short_is_had_whole(self):
        path, mark = self.new_marker()
        with self.relayed('cut') as (relay, helper):
            _, result = helper.shell(mark + '; echo whole')
        self.assertEqual(result['data']['stdout'], 'whole\n')
        self.assertEqual(len(relay.posts()), 1)
        self.assertRunOnce(path)

    def test_a_job_of_another_command_is_not_taken_for_a_lost_one(self):
        job_id = self.run_command('echo first')['jobId']
        with self.relayed('drop') as (_, helper):
            with self.assertRaisesRegex(sidecar__helper.SidecarRefused, 'another command') as caught:
                helper.shell('echo second', job_id=job_id)
        self.assertEqual(caught.exception.status, 422)

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
        clock = [time.time() - 301]  # the first try is signed by it; then the time has passed
        real_time = time.time
        with mock.patch('time.time', lambda: clock.pop() if clock else real_time()):
            with self.relayed('drop') as (relay, helper), self.assertRaises(sidecar__helper.SidecarLost) as caught:
                helper.shell(mark)
        first, second = relay.posts()
        self.assertEqual(first.headers['x-auth-timestamp'], second.headers['x-auth-timestamp'])
        self.assertEqual(caught.exception.job_id, first.body['jobId'])
        self.assertEqual(self.run_command('ls ' + path)['stdout'], '')

    def test_the_tries_are_bounded(self):
        with self.relayed(*['drop'] * 20) as (relay, helper):
            with self.assertRaises(sidecar__helper.SidecarLost):
                helper.shell('true')
            self.assertEqual(relay.lines(), ['POST /shell', 'GET /jobs', 'GET /jobs', 'GET /jobs'])
            with self.assertRaises(sidecar__helper.SidecarLost):
                helper.jobs()
            with self.assertRaises(sidecar__helper.SidecarLost):
                list(helper.output('x'))
        self.assertEqual(len(relay.requests), 12)

    def test_reading_and_cancelling_are_tried_again(self):
        job_id = self.run_command('sleep 60', wait=False)['jobId']
        with self.relayed('drop', 'pass', 'drop', 'pass', 'lose') as (relay, helper):
            self.assertEqual(helper.jobs()[0]['jobId'], job_id)
            self.assertEqual(helper.job(job_id)['jobId'], job_id)
            self.assertEqual(helper.cancel(job_id)['jobId'], job_id)
        self.assertEqual([line.split()[0] for line in relay.lines()], ['GET'] * 4 + ['DELETE'] * 2)

    def test_output_goes_on_after_headers_that_broke_off(self):
        job_id = self.run_command('printf whole')['jobId']
        with self.relayed('head') as (_, helper):
            self.assertEqual(b''.join(helper.output(job_id)), b'whole')

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
        quick = mock.patch.object(sidecar__helper, 'PAUSES', rig.QUICK)
        with quick, rig.server(serve) as url, self.assertRaises(sidecar__helper.SidecarLost) as caught:
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


class AnswersOfAProxy(rig.DaemonCase):
    """A proxy in front of the Sidecar answers in its place, after the request has gone through."""

    ANSWERS = (b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>',
               b'HTTP/1.1 503 x\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy',
               b'HTTP/1.1 504 x\r\nContent-Length: 23\r\n\r\n{"message":"timed out"}',
               b'HTTP/1.1 302 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n',
               b'HTTP/1.1 403 x\r\nContent-Length: 6\r\n\r\n<html>',
               b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>',
               b'HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{"ok":true,"data":null}')

    def test_the_job_is_asked_for_and_the_command_not_sent_again(self):
        for answer in self.ANSWERS:
            path, mark = self.new_marker()
            with mock.patch.object(sidecar__helper, 'PAUSES', rig.QUICK), rig.server(rig.Relay('lose', answer=answer)) as url:
                _, result = rig.make_helper(url).shell(mark + '; echo done')
            self.assertEqual(result['data']['stdout'], 'done\n', answer)
            self.assertRunOnce(path)

    def test_without_the_sidecars_word_nothing_is_claimed(self):
        for answer in self.ANSWERS:
            def serve(connection, answer=answer):
                rig.Request(connection)
                connection.sendall(answer)
            with mock.patch.object(sidecar__helper, 'PAUSES', rig.QUICK), rig.server(serve) as url:
                with self.assertRaises(sidecar__helper.SidecarLost) as caught:
                    rig.make_helper(url).shell('true', job_id='mine')
            self.assertIn('not known', str(caught.exception))
            self.assertEqual((caught.exception.status, caught.exception.job_id), (int(answer[9:12]), 'mine'))

    def test_output_goes_on_after_a_proxys_answer(self):
        job_id = self.run_command('echo 1; echo 2')['jobId']
        relay = rig.Relay('lose', 'lose', answer=self.ANSWERS[0])
        with mock.patch.object(sidecar__helper, 'PAUSES', rig.QUICK), rig.server(relay) as url:
            self.assertEqual(list(rig.make_helper(url).lines(job_id)), ['1', '2'])


class Connections(unittest.TestCase):
    def test_an_answer_that_comes_before_the_body_has_gone_is_heard(self):
        def refuse(connection):
            connection.recv(100)
            connection.sendall(b'HTTP/1.1 413 Too Large\r\nContent-Length: 33\r\n\r\n'
                               b'{"ok":false,"message":"too much"}')
            time.sleep(0.2)
        with rig.server(refuse) as url, self.assertRaisesRegex(sidecar__helper.SidecarRefused, '413: too much'):
            rig.make_helper(url).shell('x' * 30000000, timeout=120)

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
