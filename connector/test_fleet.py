"""SidecarFleet against three real daemons, and against hosts that are dead, refuse, break or hang."""
import contextlib
import io
import json
import socket
import threading
import time
import traceback
import unittest
import uuid
from unittest import mock

import rig
import sidecar__fleet
import sidecar__helper
import sidecar__wire
import standin
import test_func
import test_key

Fleet = sidecar__fleet.SidecarFleet
KEYS = (None, 'other0', 'other1')
URLS = [rig.URL] + rig.OTHER_URLS
LONG = 60.0  # seconds; no test waits that long


@contextlib.contextmanager
def dead_host():
    """Yields the URL of a host that answers no SYN: the backlog of one connection is full."""
    with socket.create_server(('127.0.0.1', 0), backlog=0) as listener:
        with socket.create_connection(listener.getsockname()):
            yield 'http://127.0.0.1:%d' % listener.getsockname()[1]


def hang(connection):
    """Serves a connection without an answer, until the caller closes it."""
    rig.Request(connection)
    with contextlib.suppress(OSError):
        connection.recv(1)


def fleet_threads():
    return {thread for thread in threading.enumerate() if thread.name == 'sidecar-fleet'}


class Counted:
    """Counts the connections of this process that are open at once."""

    def __init__(self):
        self.lock, self.open, self.most, self.all = threading.Lock(), 0, 0, 0

    def change(self, by):
        with self.lock:
            self.open += by
            self.most, self.all = max(self.most, self.open), self.all + (by > 0)

    @contextlib.contextmanager
    def counting(self):
        real_request = sidecar__wire.Wire.request

        @contextlib.contextmanager
        def request(wire, *arguments, **named):
            self.change(1)
            try:
                with real_request(wire, *arguments, **named) as answer:
                    yield answer
            finally:
                self.change(-1)
        with mock.patch.object(sidecar__wire.Wire, 'request', request):
            yield self


class FleetCase(rig.DaemonCase):
    def setUp(self):
        super().setUp()
        self.helpers = {'host%d' % i: rig.make_helper(url, name=name)
                        for i, (url, name) in enumerate(zip(URLS, KEYS))}
        self.fleet = Fleet(self.helpers)

    def states(self, done):
        return {result.name: result.state for result in done}

    def with_url(self, **urls):
        """Returns a fleet of hosts of the first daemon's key, after host0."""
        helpers = {name: rig.make_helper(url) for name, url in urls.items()}
        return Fleet(dict({'host0': self.helper}, **helpers))

    def many(self, count, url=rig.URL):
        return Fleet({'host%d' % i: rig.make_helper(url) for i in range(count)})


class Commands(FleetCase):
    def test_each_host_runs_it_with_a_key_of_its_own(self):
        done = self.fleet.shell('pwd; echo $A; echo err >&2', '/usr', {'A': '你好'}, labels={'user': 'alice'})
        self.assertEqual([result.name for result in done], ['host0', 'host1', 'host2'])
        for result in done:
            self.assertEqual((result.state, result.exit_code, result.stdout, result.stderr, result.message),
                             ('ok', 0, '/usr\n你好\n', 'err\n', ''))
            self.assertEqual(result.helper.job(result.job_id)['labels'], {'user': 'alice'})
            self.assertFalse(result.truncated)
        self.assertEqual(len({result.job_id for result in done}), 3)
        self.assertTrue(done.all_ok)
        self.assertIs(done.check(), done)
        self.assertEqual((len(done), len(done.ok), str(done)), (3, 3, '3 ok'))

    def test_an_action_has_its_variables_and_options(self):
        done = self.fleet.run('deploy', VERSION='v1', TARGET='west', command_timeout=30, labels={'user': 'bob'})
        self.assertEqual(self.states(done), {'host0': 'failed', 'host1': 'failed', 'host2': 'failed'})
        for result in done.failed:
            self.assertEqual((result.stdout, result.exit_code), ('v1 to west\n', 4))
        self.assertTrue(self.fleet.run('backup', {'dir': '/srv'}).all_ok)

    def test_a_script_and_standard_input_reach_each_host(self):
        done = self.fleet.script('echo "$1 $(cat) $A"', ['x'], stdin='in', envs={'A': 'b'}, interpreter='/bin/sh')
        self.assertEqual([result.stdout for result in done], ['x in b\n'] * 3, str(done))
        done = self.fleet.shell('cat', stdin='in')
        self.assertEqual([result.stdout for result in done], ['in'] * 3, str(done))

    def test_those_that_fail_are_told_apart_with_their_exit_codes(self):
        done = self.fleet.shell('echo secret-output; [ ! -e "$F" ] || exit 3', envs={'F': '/'})
        self.assertEqual((len(done.failed), done.failed[0].exit_code, done.failed[0].message),
                         (3, 3, 'ended with exit code 3'))
        self.assertNotIn('secret-output', str(done) + repr(done) + repr(list(done)))
        self.assertRegex(str(done), r'^0 ok, 3 failed\nhost0  failed       ended with exit code 3 \(job [0-9a-f]{32}\)\n')
        with self.assertRaisesRegex(sidecar__helper.SidecarError, '3 failed. host0: failed: ended with exit code 3'):
            done.check()
        self.assertEqual(json.loads(json.dumps(done.as_dict()))['host1']['exitCode'], 3)

    def test_a_command_that_its_timeout_ends_has_failed(self):
        done = self.fleet.only(['host1']).shell('sleep 60', command_timeout=0.2)
        self.assertEqual((done['host1'].state, done['host1'].message),
                         ('failed', 'did not end by itself (timed out)'))

    def test_all_are_started_before_any_is_waited_for(self):
        folder = '%s/%s' % (rig.SCRATCH, uuid.uuid4().hex)
        self.run_command('mkdir -m 777 ' + folder)
        command = 'touch %s/$$; until [ $(ls %s | wc -l) = 4 ]; do sleep 0.02; done' % (folder, folder)
        with mock.patch.object(sidecar__fleet, 'MAX_CONNECTIONS', 2):
            done = self.many(4).shell(command, timeout=LONG)
        self.assertTrue(done.all_ok, str(done))

    def test_of_large_outputs_the_start_and_the_end_are_kept(self):
        for more in ('yes | head -c 20000', 'yes 你好 | head -c 300000', 'yes x | head -c 9000000'):
            done = self.fleet.shell('echo first; %s; (%s; echo last) >&2; exit 3' % (more, more), timeout=LONG)
            for result in done:
                self.assertEqual((result.state, result.truncated, result.exit_code), ('failed', True, 3), str(done))
                self.assertTrue(result.stdout.startswith('first\n'))
                self.assertTrue(result.stderr.endswith('last\n'), result.stderr[-20:])
                for text in (result.stdout, result.stderr):
                    self.assertLessEqual(len(text), sidecar__fleet.MAX_KEPT)
                    self.assertGreater(len(text), 5000)
        result = done['host1']
        self.assertEqual(b''.join(result.helper.output(result.job_id, 'stderr', tail=5)), b'last\n')

    def test_a_large_output_does_not_hide_that_the_command_runs(self):
        gate, open_gate = self.new_gate()
        threading.Timer(1, open_gate).start()
        done = self.many(1).shell('yes | head -c 300000; %s; exit 5' % gate, timeout=LONG)
        self.assertEqual((done['host0'].state, done['host0'].exit_code), ('failed', 5))

    def test_a_job_id_of_the_caller_runs_once(self):
        path, mark = self.new_marker()
        job_id = uuid.uuid4().hex
        for _ in range(2):
            self.assertTrue(self.fleet.only(['host0']).shell(mark, job_id=job_id).all_ok)
        self.assertRunOnce(path)

    def test_what_cannot_be_meant_is_told_before_anything_is_sent(self):
        nowhere = Fleet({'a': rig.make_helper('http://127.0.0.1:1')})
        for error, message, call, named in (
                (TypeError, "no argument 'version'", nowhere.run, {'version': 'v1'}),
                (TypeError, 'wait', nowhere.run, {'wait': True}),
                (TypeError, 'check', nowhere.shell, {'check': True}),
                (ValueError, 'label', nowhere.run, {'labels': {'A': 'b'}}),
                (ValueError, 'at_once must be', nowhere.run, {'at_once': 0}),
                (ValueError, 'at_once must be', nowhere.run, {'at_once': True}),
                (ValueError, 'max_errors must be', nowhere.run, {'max_errors': 1.5}),
                (ValueError, 'the timeout', nowhere.run, {'timeout': float('nan')})):
            with self.assertRaisesRegex((error, ValueError), message):
                call('deploy', **named)
        self.assertEqual(len(Fleet({}).shell('true')), 0)


class Hosts(FleetCase):
    def test_dead_hosts_are_told_and_delay_no_other(self):
        with dead_host() as dead, mock.patch.object(sidecar__wire, 'CONNECT_TIMEOUT', 2.0):
            began = time.monotonic()
            done = self.with_url(**{'dead%d' % i: dead for i in range(20)}).shell('echo x')
            self.assertLess(time.monotonic() - began, 25)  # 40 s one after the other
        self.assertEqual((len(done.ok), len(done.unreachable)), (1, 20))
        self.assertIn('cannot connect to ' + dead, done['dead3'].message)
        self.assertRegex(str(done), r'^1 ok, 20 unreachable\ndead0   unreachable  cannot connect to .{55,65}…\n')

    def test_a_refusal_is_told_with_its_status_and_not_tried_again(self):
        helpers = dict(self.helpers, limited=rig.make_helper(name='deploy'), past=rig.make_helper(name='past'),
                       wrong=sidecar__helper.SidecarHelper.from_url(rig.URL, 'another'))
        done = Fleet(helpers).shell('echo x')
        self.assertEqual([(r.name, r.status) for r in done.refused], [('limited', 403), ('past', 403), ('wrong', 401)])
        self.assertIn('the key deploy may run', done['limited'].message)
        self.assertEqual((len(done.ok), done.retry().names), (3, []))

    def test_a_busy_host_is_refused_and_tried_again(self):
        relay, busy = rig.Relay(), [b'HTTP/1.0 503 x\r\nRetry-After: 1000\r\n\r\n{"ok":false,"message":"busy"}']

        def serve(connection):
            if not busy:
                return relay(connection)
            rig.Request(connection)
            connection.sendall(busy.pop())
        with rig.server(serve) as url:
            done = self.with_url(busy=url).shell('true', timeout=LONG)
            self.assertEqual([(r.name, r.status, r.message) for r in done.refused],
                             [('busy', 503, 'the Sidecar answered with 503: busy')])
            self.assertEqual(done.retry().names, ['busy'])
            self.assertTrue(done.retry().shell('true', timeout=LONG).all_ok)

    def test_a_question_to_a_busy_host_is_no_reason_to_run_it_again(self):
        ended = {'state': 'ended', 'ended': 'exited', 'exitCode': 0, 'stdout': 'x', 'stderr': ''}
        answers = [{'jobId': 'x', 'state': 'running'}, None, ended]

        def serve(connection):
            rig.Request(connection)
            data = answers.pop(0)
            connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n' + json.dumps({'ok': True, 'data': data}).encode()
                               if data else b'HTTP/1.0 503 x\r\n\r\n{"ok":false,"message":"busy"}')
        with rig.server(serve) as url:
            done = Fleet({'busy': rig.make_helper(url)}).shell('true', timeout=LONG)
        self.assertEqual((done['busy'].state, done['busy'].stdout, done['busy'].status), ('ok', 'x', None))
        self.assertEqual(done.retry().names, [])

    def test_a_hung_host_is_told_as_unknown_and_delays_no_other(self):
        with rig.server(hang) as url:
            done = self.with_url(hung=url, hung2=url).shell('echo x', timeout=5)
        self.assertEqual(self.states(done), {'host0': 'ok', 'hung': 'unknown', 'hung2': 'unknown'})
        self.assertRegex(done['hung'].job_id, r'^[0-9a-f]{32}$')

    def test_out_of_time_the_others_are_not_tried(self):
        with rig.server(hang) as url, mock.patch.object(sidecar__fleet, 'MAX_CONNECTIONS', 1):
            done = Fleet({'hung': rig.make_helper(url), 'host0': self.helper}).shell('true', timeout=1)
        self.assertEqual(self.states(done), {'hung': 'unknown', 'host0': 'not tried'})
        self.assertEqual((done['host0'].message, done['host0'].job_id), ('out of time', None))
        self.assertEqual(done.retry().names, ['hung', 'host0'])

    def test_a_thread_that_hangs_does_not_delay_the_result(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        slow = rig.make_helper()
        slow.start = lambda *arguments: gate.wait(LONG)  # as a resolver of names may
        began = time.monotonic()
        done = Fleet({'slow': slow, 'host0': self.helper}).shell('true', timeout=5)
        self.assertLess(time.monotonic() - began, 25)
        self.assertEqual(self.states(done), {'slow': 'unknown', 'host0': 'ok'})
        self.assertIn('had not come when the time was over', done['slow'].message)
        gate.set()
        self.assertEqual(done['slow'].state, 'unknown')

    def test_the_default_is_within_the_time_of_a_function(self):
        self.assertLessEqual(sidecar__fleet.TIMEOUT + sidecar__fleet.GRACE, 33)

    def test_an_executor_that_is_killed_leaves_an_unknown_result(self):
        path, mark = self.new_marker()
        done = self.many(1).shell(mark + '; sleep 0.2; kill -9 $PPID; sleep 60', timeout=LONG)
        self.assertEqual((done['host0'].state, done['host0'].message), ('unknown', 'interrupted'))
        self.assertRunOnce(path)

    def test_a_sidecar_that_keeps_no_jobs_has_no_result(self):
        answer = b'{"ok":true,"message":"","data":{"stdout":"","stderr":""}}'
        def original(connection):
            rig.Request(connection)
            connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n' + answer)
        with rig.server(original) as url:
            done = self.with_url(old=url).shell('true', timeout=LONG)
        self.assertEqual((done['old'].state, done['host0'].state), ('unknown', 'ok'))
        self.assertIn('keeps no jobs', done['old'].message)

    def test_answers_that_no_sidecar_gives_end_nothing(self):
        for job in (b'{"data":{}}', b'{"data":{"state":"ended"}}', b'{"data":{"state":"ended","ended":"exited","stdout":1}}'):
            def serve(connection, job=job):
                post = rig.Request(connection).line.startswith('POST')
                connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n' + (
                    b'{"ok":true,"data":{"jobId":"x","state":"running"}}' if post else job))
            with rig.server(serve) as url:
                done = self.with_url(strange=url).shell('true', timeout=LONG)
            self.assertEqual((done['strange'].state, done['host0'].state), ('unknown', 'ok'), job)


class Bounds(FleetCase):
    def test_at_most_n_hosts_have_the_command_at_once(self):
        labels = {'test': uuid.uuid4().hex[:8]}
        with Counted().counting() as counted:
            done = self.many(9).shell('sleep 0.1', at_once=3, timeout=LONG, labels=labels)
        self.assertTrue(done.all_ok, str(done))
        self.assertLessEqual(counted.most, 3)
        self.assertGreaterEqual(counted.all, 18)
        jobs = [job for job in self.helper.jobs() if job.get('labels') == labels]
        spans = [(job['startedAt'], job['endedAt']) for job in jobs]
        self.assertEqual(len(spans), 9)
        for begin, _ in spans:
            self.assertLessEqual(len([1 for b, e in spans if b <= begin < e]), 3)

    def test_connections_are_bounded_while_all_hosts_run(self):
        with Counted().counting() as counted, mock.patch.object(sidecar__fleet, 'MAX_CONNECTIONS', 2):
            done = self.many(4).shell('sleep 0.2', timeout=LONG)
        self.assertTrue(done.all_ok, str(done))
        self.assertEqual(counted.most, 2)
        self.assertGreaterEqual(counted.all, 8)

    def test_after_the_errors_no_other_host_begins(self):
        path, mark = self.new_marker()
        hosts = {name: self.helper for name in ('good', 'bad1', 'bad2', 'late1', 'late2')}
        hosts['bad1'] = rig.make_helper('http://127.0.0.1:1')
        hosts['bad2'] = rig.make_helper(name='monitor')
        done = Fleet(hosts).shell(mark, at_once=1, max_errors=2)
        self.assertEqual(self.states(done), {
            'good': 'ok', 'bad1': 'unreachable', 'bad2': 'refused', 'late1': 'not tried', 'late2': 'not tried'})
        self.assertEqual(done['late1'].message, 'not begun after 2 errors')
        self.assertRunOnce(path)
        self.assertEqual(done.retry().names, ['bad1', 'late1', 'late2'])

    def test_those_that_have_begun_are_waited_for(self):
        done = self.many(6).shell('sleep 0.2; exit 1', at_once=2, max_errors=1, timeout=LONG)
        self.assertEqual((len(done.failed), len(done.not_tried)), (2, 4), str(done))

    def test_no_thread_stays(self):
        before = fleet_threads()
        self.many(8).shell('true', at_once=3)
        self.assertEqual(fleet_threads() - before, set())

    def test_the_threads_end_when_func_ends_the_function(self):
        before = fleet_threads()
        with mock.patch.object(sidecar__fleet._Schedule, '_record', side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                self.fleet.shell('true')
        for thread in fleet_threads() - before:
            thread.join(LONG)
        self.assertEqual(fleet_threads() - before, set())

    def test_a_table_is_bounded_and_cannot_steer_a_terminal(self):
        helper = rig.make_helper('http://127.0.0.1:1')
        fleet = Fleet({'\x1b[2J%d\n' % i: helper for i in range(105)})
        with mock.patch.object(sidecar__wire.Wire, '_connect', side_effect=sidecar__helper.SidecarUnreachable('x')):
            lines = fleet.shell('true').table().split('\n')
        self.assertEqual((len(lines), lines[0], lines[-1]), (102, '0 ok, 105 unreachable', 'and 5 more'))
        self.assertTrue(lines[1].startswith('\\x1b[2J0\\n '), lines[1])
        self.assertTrue(all(line.isprintable() for line in lines))


@mock.patch.object(sidecar__helper, 'PAUSES', rig.QUICK)
class Retries(FleetCase):
    def test_a_lost_answer_is_had_without_a_second_run(self):
        for plan, posts in ((('lose',), 1), (('cut',), 1), (('drop',), 2), (('pass', 'lose', 'cut'), 1)):
            path, mark = self.new_marker()
            relay = rig.Relay(*plan)
            with rig.server(relay) as url:
                done = Fleet({'a': rig.make_helper(url)}).shell(mark + '; echo done', timeout=LONG)
            self.assertEqual((done['a'].state, done['a'].stdout, len(relay.posts())), ('ok', 'done\n', posts), plan)
            self.assertRunOnce(path)

    def test_a_host_that_lost_all_answers_is_unknown_and_its_job_is_found_later(self):
        path, mark = self.new_marker()
        relay = rig.Relay('lose', 'drop', 'drop', 'drop')
        with rig.server(relay) as url:
            fleet = self.with_url(a=url)
            done = fleet.shell('%s; echo done' % mark, timeout=LONG, labels={'user': 'a'})
            self.assertEqual((done['a'].state, len(relay.requests)), ('unknown', 4))
            self.assertIn('not known', done['a'].message)
            self.assertEqual(done.retry().names, ['a'])
            again = done.retry().shell('%s; echo done' % mark, timeout=LONG, labels={'user': 'a'})
        self.assertEqual((again['a'].state, again['a'].stdout, again['a'].job_id), ('ok', 'done\n', done['a'].job_id))
        self.assertEqual(len(relay.posts()), 1)
        self.assertEqual(self.run_command('cat ' + path)['stdout'], 'run\n' * 2)  # on host0 too

    def test_a_request_that_never_arrived_is_sent_again_with_its_id_and_time(self):
        path, mark = self.new_marker()
        relay = rig.Relay(*['drop'] * 4)
        with rig.server(relay) as url:
            done = Fleet({'a': rig.make_helper(url)}).shell(mark, timeout=LONG)
            self.assertEqual(self.states(done), {'a': 'unknown'})
            self.assertTrue(done.retry().shell(mark, timeout=LONG).all_ok)
        first, second = relay.posts()
        self.assertEqual(first.body, second.body)
        self.assertEqual(first.headers['x-auth-timestamp'], second.headers['x-auth-timestamp'])
        self.assertRunOnce(path)

    def test_one_too_old_to_be_vouched_for_stays_unknown(self):
        path, mark = self.new_marker()
        relay = rig.Relay(*['drop'] * 4)
        with rig.server(relay) as url:
            with mock.patch('time.time', return_value=time.time() - 301):
                done = Fleet({'a': rig.make_helper(url)}).shell(mark, timeout=LONG)
            again = done.retry().shell(mark, timeout=LONG)
        self.assertEqual((again['a'].state, len(relay.posts())), ('unknown', 2), str(again))
        self.assertEqual(self.run_command('ls ' + path)['stdout'], '')

    def test_what_may_have_run_keeps_its_id_in_later_retries(self):
        path, mark = self.new_marker()
        relay = rig.Relay(*['lose'] + ['drop'] * 3)
        with rig.server(relay) as url:
            dead = {'dead%d' % i: rig.make_helper('http://127.0.0.1:1') for i in range(2)}
            done = Fleet(dict(dead, a=rig.make_helper(url))).shell(mark, timeout=LONG)
            again = done.retry().only(['dead0', 'a']).shell(mark, at_once=1, max_errors=1, timeout=LONG)
            self.assertEqual(self.states(again), {'dead0': 'unreachable', 'a': 'not tried'})
            last = again.retry().only(['a']).shell(mark, timeout=LONG)
        self.assertEqual((last['a'].state, last['a'].job_id), ('ok', done['a'].job_id))
        self.assertRunOnce(path)

    def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_was_run(self):
        answers = [b'', b'{"ok":true,"data":{"jobs":[]}}', b'{"ok":false,"message":"its result is not known"}']

        def serve(connection):
            rig.Request(connection)
            status = b'409 x' if len(answers) == 1 else b'200 OK'
            answer = answers.pop(0)
            connection.sendall(b'HTTP/1.0 %s\r\n\r\n%s' % (status, answer) if answer else b'')
        with rig.server(serve) as url:
            done = Fleet({'a': rig.make_helper(url)}).shell('true', timeout=LONG)
        self.assertEqual((done['a'].state, done['a'].status), ('unknown', 409), str(done))
        self.assertRegex(str(done), r'its result is not known \(job [0-9a-f]{32}\)$')

    def test_another_command_on_such_a_host_has_an_id_of_its_own(self):
        with rig.server(rig.Relay('lose', 'drop', 'drop', 'drop')) as url:
            done = Fleet({'a': rig.make_helper(url)}).shell('echo first', timeout=LONG)
            other = done.retry().shell('echo second', timeout=LONG)
        self.assertEqual((other['a'].state, other['a'].stdout), ('ok', 'second\n'))
        self.assertNotEqual(other['a'].job_id, done['a'].job_id)

    def test_one_that_still_runs_is_waited_for_and_not_started_again(self):
        path, mark = self.new_marker()
        gate, open_gate = self.new_gate()
        command = '%s; %s; echo late' % (mark, gate)
        done = self.many(1).shell(command, timeout=5)
        self.assertEqual(self.states(done), {'host0': 'running'}, str(done))
        open_gate()
        again = done.retry().shell(command, timeout=LONG)
        self.assertEqual((again['host0'].stdout, again['host0'].job_id), ('late\n', done['host0'].job_id))
        self.assertRunOnce(path)

    def test_one_that_failed_runs_again_unless_it_must_not(self):
        path, mark = self.new_marker()
        done = self.many(1).shell(mark + '; exit 1')
        self.assertEqual(done.retry(failed=False).names, [])
        self.assertEqual(len(done.retry().shell(mark + '; exit 1').failed), 1)
        self.assertEqual(self.run_command('cat ' + path)['stdout'], 'run\n' * 2)


class Making(FleetCase):
    def test_a_fleet_is_made_of_connectors(self):
        dff = standin.DFF({'web1': test_func.settings(), 'web2': test_func.settings(
            URLS[1], secretKey=rig.key('other0')), 'tls': test_func.settings(rig.TLS_URL)})
        fleet = Fleet.from_connectors({name: dff.CONN(name) for name in ('web1', 'web2', 'tls')}, {'tls': 'ca.pem'})
        self.assertEqual([r.stdout for r in fleet.shell('echo x')], ['x\n'] * 3)
        fleet = Fleet.from_connectors([dff.CONN('web1'), dff.CONN('web2')])
        self.assertEqual((fleet.names, fleet.shell('true').all_ok), (URLS[:2], True))

    def test_a_fleet_is_made_of_urls(self):
        fleet = Fleet.from_urls([rig.URL, rig.TLS_URL], rig.key(), 'ca.pem')
        self.assertEqual((fleet.names, fleet.shell('true').all_ok), ([rig.URL, rig.TLS_URL], True))
        fleet = Fleet.from_urls({'a': URLS[1], 'b': URLS[2], 'tls': rig.TLS_URL},
                                {'a': rig.key('other0'), 'b': rig.key('other1'), 'tls': rig.key()}, {'tls': 'ca.pem'})
        self.assertEqual(self.states(fleet.shell('true')), {'a': 'ok', 'b': 'ok', 'tls': 'ok'})
        self.assertEqual(repr(fleet), 'SidecarFleet(3 Sidecars)')

    def test_certificates_are_loaded_once(self):
        urls = {'a': rig.TLS_URL, 'b': rig.TLS_URL, 'c': rig.URL, 'd': rig.TLS_URL}
        with mock.patch.object(sidecar__wire.ssl, 'create_default_context',
                               wraps=sidecar__wire.ssl.create_default_context) as load:
            fleet = Fleet.from_urls(urls, rig.key(), 'ca.pem')
        self.assertEqual(load.call_count, 1)
        self.assertTrue(fleet.shell('true').all_ok)

    def test_what_is_wrong_is_told_with_the_host(self):
        for message, call in (
                ("pass {'web1': DFF.CONN", lambda: Fleet.from_connectors({'a': 'b'})),
                ("pass {'web1': 'http", lambda: Fleet.from_urls(rig.URL, 'k')),
                ("pass {'web1': 'http", lambda: Fleet.from_urls(None, 'k')),
                ('^host 2: the URL must be', lambda: Fleet.from_urls([rig.URL, 'ftp://x'], 'k')),
                ('^host 2: the URL is None', lambda: Fleet.from_urls([rig.URL, None], 'k')),
                ('^host 2: there is another host', lambda: Fleet.from_urls([rig.URL, rig.URL], 'k')),
                ('^b: the secret key is None', lambda: Fleet.from_urls({'a': rig.URL, 'b': rig.URL}, {'a': 'k'})),
                ('^a: the secret key is None', lambda: Fleet.from_urls({'a': rig.URL}, None)),
                ('^a: the ca_file cannot be used', lambda: Fleet.from_urls({'a': rig.TLS_URL}, 'k', 'none')),
                ('^a: the host', lambda: Fleet.from_connectors(
                    {'a': standin.StockHelper(test_func.settings(host='a b'))}))):
            with self.assertRaisesRegex(ValueError, message):
                call()


class Secrecy(FleetCase):
    def assertKeyless(self, what, texts):
        keys = [rig.key(name) for name in KEYS]
        found = any(key in text for key in keys for text in texts)  # never shown, also by a failure
        del keys
        self.assertFalse(found, 'a key is in ' + what)

    def test_no_fleet_and_no_result_holds_a_key(self):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            fleet = Fleet.from_urls(dict(zip('abcd', URLS + ['http://127.0.0.1:1'])),
                                    dict(zip('abcd', [rig.key(name) for name in KEYS + (None,)])))
            done = fleet.shell('echo x; exit 1')
        self.assertEqual((out.getvalue(), err.getvalue()), ('', ''))
        self.assertEqual((len(done.failed), len(done.unreachable)), (3, 1))
        self.assertKeyless('the result', [str(done), repr(done), repr(list(done)), json.dumps(done.as_dict())])
        self.assertKeyless('what can be reached', test_key.reachable(done) + test_key.reachable(fleet)
                           + test_key.reachable(done.retry()))
        self.assertKeyless('the fleet', [repr(fleet), str(fleet), repr(vars(fleet))])

    def test_no_error_holds_a_key_nor_does_a_traceback_with_its_variables(self):
        stock = standin.StockHelper(test_func.settings(host='a b'))
        for call in (lambda: Fleet.from_urls({'a': 'ftp://x'}, {'a': rig.key()}),
                     lambda: Fleet.from_urls(['ftp://x'], rig.key()),
                     lambda: Fleet.from_urls(rig.key(), [rig.URL]),
                     lambda: Fleet.from_connectors({'a': stock}),
                     lambda: Fleet.from_connectors({'a': rig.key()}),
                     lambda: Fleet.from_connectors(rig.key())):
            try:
                call()
            except ValueError as error:
                report = list(traceback.TracebackException.from_exception(error, capture_locals=True).format())
                self.assertIn('/sidecar__fleet', ''.join(report))
                self.assertKeyless('the report', report + [str(error), repr(error)])
            else:
                self.fail('there was no ValueError')

    def test_a_key_in_the_place_of_the_ca_file_is_not_shown(self):
        with self.assertRaisesRegex(ValueError, 'ca_file') as caught:
            Fleet.from_urls([rig.TLS_URL], 'k', rig.key())
        self.assertKeyless('the error', [str(caught.exception), repr(caught.exception)])


if __name__ == '__main__':
    unittest.main()
