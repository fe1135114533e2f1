"""The queue, signals, secrets and traces."""
import time
import unittest
import uuid
from unittest import mock

import rig
import sidecar__helper

SECRET = 'canary-secret-0123456789'
TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
TRAPS = ('for s in TERM INT HUP USR1; do trap "echo $s" $s; done; echo up; '
         'while :; do sleep 0.02; done')


class Queue(rig.DaemonCase):
    def test_a_command_that_could_not_be_started_in_time_never_runs(self):
        path, mark = self.new_marker()
        gate, open_gate = self.new_gate()
        for _ in range(4):  # all of MAX_RUNNING
            self.helper.shell(gate, wait=False)
        sent, post = [], sidecar__helper.SidecarHelper._post

        def note(helper, body, deadline, stamp):
            sent.append(body['startWithin'])
            return post(helper, body, deadline, stamp)

        before = time.monotonic()
        with mock.patch.object(sidecar__helper.SidecarHelper, '_post', note):
            with self.assertRaises(sidecar__helper.SidecarBusy):
                self.helper.shell(mark, start_within=2.5, timeout=60)
        self.assertGreater(len(sent), 1, 'a busy Sidecar is asked again')
        self.assertEqual(sent, sorted(sent, reverse=True), 'the time counts from the first attempt')
        self.assertLess(time.monotonic() - before, 50, 'it does not wait for the timeout')
        for job in self.helper.jobs():
            if job['state'] == 'running':
                self.helper.cancel(job['jobId'])
                self.helper.result(job['jobId'])
        self.assertEqual(self.run_command('ls ' + path)['exitCode'], 2, 'it has run')


class Signals(rig.DaemonCase):
    def start(self, **named):
        job_id = uuid.uuid4().hex
        self.helper.shell(TRAPS, wait=False, job_id=job_id, **named)
        self.await_output(job_id, 'up\n')
        return job_id

    def await_output(self, job_id, want):
        for _ in range(3000):
            if self.helper.job(job_id)['stdout'] == want:
                return
            time.sleep(0.02)
        self.fail('the job has written %r' % self.helper.job(job_id)['stdout'])

    def test_kill_sends_a_signal_and_ends_nothing(self):
        job_id = self.start()
        self.assertEqual(self.helper.kill(job_id, 'HUP')['state'], 'running')
        self.await_output(job_id, 'up\nHUP\n')
        self.helper.kill(job_id, group=False)
        self.await_output(job_id, 'up\nHUP\nTERM\n')
        self.helper.kill(job_id, 'KILL')
        result = self.helper.result(job_id)
        self.assertEqual((result['ended'], result['signal']), ('exited', 'SIGKILL'))
        with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
            self.helper.kill(job_id)
        self.assertEqual(caught.exception.status, 409)

    def test_signal_and_grace_are_how_a_command_is_ended(self):
        job_id = self.start(signal='INT', grace=600)
        self.helper.cancel(job_id)
        self.await_output(job_id, 'up\nINT\n')
        self.helper.kill(job_id, 'KILL')
        self.assertEqual(self.helper.result(job_id)['ended'], 'cancelled')
        job_id = self.start(grace=0)
        self.helper.cancel(job_id)
        self.assertEqual(self.helper.result(job_id)['signal'], 'SIGKILL')

    def test_a_key_of_actions_has_few_signals(self):
        helper, job_id = rig.make_helper(name='deploy'), uuid.uuid4().hex
        helper.run('hold', GATE=rig.SCRATCH + '/never', wait=False, job_id=job_id)
        with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
            helper.kill(job_id, 'USR1')
        self.assertEqual(caught.exception.status, 403)
        helper.kill(job_id, 'KILL')
        self.assertEqual(helper.result(job_id)['signal'], 'SIGKILL')


class Secrets(rig.DaemonCase):
    def test_values_are_masked(self):
        for form in ({'TOKEN': SECRET}, ['TOKEN=' + SECRET]):
            data = self.run_command('echo "$TOKEN" | wc -c; echo "$TOKEN"', secret_envs=form)
            self.assertEqual((data['stdout'], data['masked']), ('%d\n***\n' % (len(SECRET) + 1), True))
        _, result = self.helper.script('echo "$TOKEN"', secret_envs={'TOKEN': SECRET})
        self.assertEqual(result['data']['stdout'], '***\n')
        _, result = rig.make_helper(name='deploy').run('deploy', secret_envs={'VERSION': 'v1.234567'})
        self.assertEqual(result['data']['stdout'], '*** to \n')

    def test_no_refusal_has_a_value(self):
        for command, envs in (('echo ' + SECRET, {'TOKEN': SECRET}), ('true', {'TOKEN': 'canary'})):
            with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
                self.helper.shell(command, secret_envs=envs)
            self.assertEqual(caught.exception.status, 400)
            self.assertNotIn('canary', str(caught.exception))

    def test_traceparent_is_a_variable_and_in_the_job(self):
        data = self.run_command('echo "$TRACEPARENT"', traceparent=TRACE)
        self.assertEqual(data['stdout'], TRACE + '\n')
        self.assertEqual(self.helper.summary(data['jobId'])['traceparent'], TRACE)
        with self.assertRaises(sidecar__helper.SidecarRefused):
            self.helper.shell('true', traceparent='00-1-2-3')


if __name__ == '__main__':
    unittest.main()
