"""Jobs against the real daemon: status, list, cancel, and output as it comes."""
import time
import unittest

import rig
import sidecar__helper


class Jobs(rig.DaemonCase):
    def test_a_job_is_listed_shown_and_cancelled(self):
        job_id = self.run_command('echo 你好; sleep 60', wait=False)['jobId']
        self.assertEqual(self.helper.jobs()[0]['jobId'], job_id)
        self.assertEqual(next(self.helper.lines(job_id)), '你好')
        shown = self.helper.job(job_id)
        self.assertEqual((shown['state'], shown['stdout']), ('running', '你好\n'))
        for _ in range(2):  # repeating it changes nothing
            self.assertEqual(self.helper.cancel(job_id)['jobId'], job_id)
        ended = self.helper.result(job_id)
        self.assertEqual((ended['state'], ended['ended'], ended['signal']), ('ended', 'cancelled', 'SIGTERM'))

    def test_a_repeated_job_says_so_and_another_request_with_its_id_is_refused(self):
        path, mark = self.new_marker()
        job_id = self.helper.shell(mark + '; echo x', wait=False)[1]['data']['jobId']
        _, answer = self.helper.shell(mark + '; echo x', job_id=job_id)
        self.assertEqual((answer['data']['stdout'], answer['data']['repeated']), ('x\n', True))
        self.assertIs(self.helper.shell('true')[1]['data']['repeated'], False)
        with self.assertRaisesRegex(sidecar__helper.SidecarRefused, 'another request.*nothing was run') as caught:
            self.helper.shell(mark + '; echo y', job_id=job_id)
        self.assertEqual(caught.exception.status, 422)
        self.assertRunOnce(path)

    def test_waiting_for_a_result_ends_with_the_timeout(self):
        job_id = self.run_command('sleep 60', wait=False)['jobId']
        began = time.monotonic()
        with self.assertRaises(sidecar__helper.SidecarTimeout):
            self.helper.result(job_id, timeout=0.3)
        self.assertLess(time.monotonic() - began, 5)

    def test_a_job_id_that_cannot_be_one_is_not_sent(self):
        for job_id in ('', '../shell', 'a/b', 'a?b', 'ä', 'x' * 65, 'a\n'):
            with self.assertRaises(ValueError):
                self.helper.job(job_id)


class Output(rig.DaemonCase):
    def test_lines_arrive_while_the_command_runs(self):
        gate, open_gate = self.new_gate()
        job_id = self.run_command('echo 1; echo 2; %s; echo 3' % gate, wait=False)['jobId']
        lines = self.helper.lines(job_id)
        self.assertEqual([next(lines), next(lines)], ['1', '2'])
        self.assertEqual(self.helper.job(job_id)['state'], 'running')
        open_gate()
        self.assertEqual(list(lines), ['3'])

    def test_an_offset_in_the_middle_goes_on_from_there(self):
        job_id = self.run_command('printf 0123456789; printf abc >&2')['jobId']
        self.assertEqual(b''.join(self.helper.output(job_id, offset=4)), b'456789')
        self.assertEqual(b''.join(self.helper.output(job_id, 'stderr', offset=1)), b'bc')
        self.assertEqual(b''.join(self.helper.output(job_id, offset=400)), b'')
        self.assertEqual(b''.join(self.helper.output(job_id, tail=3)), b'789')
        self.assertEqual(list(self.helper.lines(job_id, 'stderr', tail=100)), ['abc'])

    def test_without_following_there_is_what_there_is(self):
        job_id = self.run_command('printf now; sleep 60; printf later', wait=False)['jobId']
        self.assertEqual(next(self.helper.output(job_id)), b'now')
        self.assertEqual(list(self.helper.output(job_id, follow=False)), [b'now'])

    def test_following_ends_with_its_timeout_and_can_go_on_from_where_it_was(self):
        gate, open_gate = self.new_gate()
        job_id = self.run_command('printf early; %s; printf later' % gate, wait=False)['jobId']
        got = b''
        with self.assertRaises(sidecar__helper.SidecarTimeout):
            for piece in self.helper.output(job_id, timeout=0.5):
                got += piece
        open_gate()
        self.assertEqual(got, b'early')
        self.assertEqual(b''.join(self.helper.output(job_id, offset=len(got))), b'later')

    def test_characters_that_come_in_two_halves_are_one_in_lines(self):
        command = "printf 'x\\344\\275'; sleep 0.4; printf '\\240!\\r\\f\\n\\377end'"
        job_id = self.run_command(command, wait=False)['jobId']
        self.assertEqual(list(self.helper.lines(job_id)), ['x你!\r\f', '\ufffdend'])

    def test_an_empty_line_is_a_line_and_the_end_is_none(self):
        job_id = self.run_command('echo; echo a; echo')['jobId']
        self.assertEqual(list(self.helper.lines(job_id)), ['', 'a', ''])

    def test_a_megabyte_of_bytes_arrives_whole(self):
        job_id = self.run_command('head -c 3000000 /dev/zero | tr "\\0" "\\377"; sleep 0.2', wait=False)['jobId']
        self.assertTrue(b''.join(self.helper.output(job_id)) == b'\xff' * 3000000)


class Events(rig.DaemonCase):
    def test_both_streams_come_in_order_while_the_command_runs(self):
        gate, open_gate = self.new_gate()
        job_id = self.run_command('echo 你; %s; printf "\\377" >&2; exit 3' % gate, wait=False)['jobId']
        events = self.helper.events(job_id)
        first = next(events)
        self.assertEqual((first['event'], first['text'], first['offset'], first['id']), ('stdout', '你\n', 0, '4-0'))
        self.assertEqual(self.helper.job(job_id)['state'], 'running')
        open_gate()
        second, last = events
        self.assertEqual((second['event'], second['bytes'], second['text']), ('stderr', b'\xff', '\ufffd'))
        self.assertEqual((last['event'], last['exitCode'], last['id']), ('result', 3, '4-1-end'))
        self.assertEqual([event['id'] for event in self.helper.events(job_id, after='4-0')], ['4-1', '4-1-end'])
        self.assertEqual(list(self.helper.events(job_id, after='4-1-end')), [])

    def test_after_a_broken_connection_they_go_on(self):
        job_id = self.run_command('seq 100000; seq 100000 >&2')['jobId']
        relay = rig.Relay('cut', 'drop', 'cut')
        with rig.server(relay) as url:
            helper = sidecar__helper.SidecarHelper.from_url(url, rig.key())
            got = {'stdout': b'', 'stderr': b'', 'result': b''}
            for event in helper.events(job_id):
                got[event['event']] += event.get('bytes', b'')
        whole = self.helper.job(job_id)
        self.assertEqual(len(relay.requests), 4)
        self.assertTrue(got['stdout'] == whole['stdout'].encode() and got['stderr'] == whole['stderr'].encode())

    def test_what_is_no_event_is_not_taken_for_one(self):
        for data in (b'{', b'[]', b'{"text":5}', b'{"base64":"x"}', b'{}'):
            with self.assertRaises(sidecar__helper.SidecarUnreadable):
                list(sidecar__helper._events(iter([b'id: 1-0\nevent: stdout\ndata: ', data, b'\n\n'])))
        with self.assertRaises(sidecar__helper.SidecarUnreadable):
            list(sidecar__helper._events(iter([b'x' * (sidecar__helper.MAX_EVENT + 1)])))
        self.assertEqual(list(sidecar__helper._events(iter([b': a comment\n\nid: 1', b'-0\nevent: x']))), [])


if __name__ == '__main__':
    unittest.main()
