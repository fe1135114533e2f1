"""Standard input and scripts."""
import unittest
import uuid
from unittest import mock

import rig
import sidecar__helper
import sidecar__wire

EVERY_BYTE = bytes(range(256))


class Stdin(rig.DaemonCase):
    def test_text_and_bytes_arrive_as_they_are(self):
        for stdin in ('', 'a\nb', 'é漢🙂\x00\x7f"\\', 'x' * 300000):
            self.assertEqual(self.run_command('cat', stdin=stdin)['stdout'], stdin)
        for stdin in (b'', b'a\n', EVERY_BYTE, bytearray(EVERY_BYTE)):
            data = self.run_command('cat', stdin=stdin)
            self.assertEqual(sidecar__helper.output_bytes(data), stdin)

    def test_without_it_the_command_reads_nothing(self):
        self.assertEqual(self.run_command('readlink /proc/self/fd/0')['stdout'], '/dev/null\n')

    def test_an_action_gets_it_if_it_takes_it(self):
        _, result = rig.make_helper(name='free').run('count', stdin='a b c')
        self.assertEqual(result['data']['stdout'], '5\n')
        with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
            self.helper.run('hostname', stdin='x')
        self.assertEqual(caught.exception.status, 400)
        self.assertIn('takes none (STDIN)', str(caught.exception))

    def test_another_type_is_told_before_anything_is_sent(self):
        for wrong in (5, ['a'], {'a': 'b'}):
            with self.assertRaisesRegex(ValueError, 'stdin must be a text or bytes'):
                self.helper.shell('cat', stdin=wrong)

    def test_more_than_max_body_is_refused_with_the_bound(self):
        with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
            self.helper.shell('cat', stdin='x' * (1 << 20))
        self.assertEqual(caught.exception.status, 413)
        self.assertIn('1048576 bytes', str(caught.exception))


class Script(rig.DaemonCase):
    def script(self, *arguments, **named):
        status, result = self.helper.script(*arguments, check=True, **named)
        self.assertEqual((status, result['ok']), (200, True))
        return result['data']['stdout']

    def test_it_gets_arguments_stdin_and_variables(self):
        text = 'echo "$# $1 $A"\ncat\n'
        self.assertEqual(self.script(text, ['$(id)', 'b'], stdin='x', envs={'A': 'a'}), '2 $(id) a\nx')
        self.assertEqual(self.script(text.encode(), stdin=b'x'), '0  \nx')

    def test_the_interpreter_is_the_given_one_or_that_of_the_first_line(self):
        text = 'import sys; print(sys.argv[1:], sys.flags.isolated)'
        python = '/usr/bin/python3'
        self.assertEqual(self.script(text, ['a'], interpreter=python), "['a'] 0\n")
        self.assertEqual(self.script(text, interpreter=[python, '-I']), '[] 1\n')
        for line in ('#!%s -I\n', '#! %s  -I \r\n', '#!/usr/bin/env -S %s -I\n'):
            for form in (line % python + text, (line % python + text).encode()):
                self.assertEqual(self.script(form), '[] 1\n', line)
        self.assertEqual(self.script('#!nothing\necho shell'), 'shell\n')

    def test_it_fails_as_a_command_does(self):
        with self.assertRaises(sidecar__helper.SidecarFailed) as caught:
            self.script('exit 3')
        self.assertEqual(caught.exception.exit_code, 3)

    def test_what_cannot_be_meant_is_told_before_anything_is_sent(self):
        for args in ('--since', [1], b'x'):
            with self.assertRaisesRegex(ValueError, 'args must be a list of texts'):
                self.helper.script('true', args)
        with self.assertRaisesRegex(ValueError, 'script must be a text or bytes'):
            self.helper.script(5)

    def test_a_key_of_actions_runs_none(self):
        with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
            rig.make_helper(name='deploy').script('id')
        self.assertEqual(caught.exception.status, 403)

    def test_it_runs_once_although_its_answer_is_lost(self):
        path, mark = self.new_marker()
        exchange, lost = sidecar__wire.Wire.exchange, []

        def lose(wire, method, where, body, *rest, **named):
            answer = exchange(wire, method, where, body, *rest, **named)
            if where == '/shell' and 'script' in body and not lost:
                lost.append(True)
                raise sidecar__helper.SidecarLost('the answer is lost on purpose')
            return answer

        with mock.patch.object(sidecar__wire.Wire, 'exchange', lose), \
                mock.patch.object(sidecar__helper, 'PAUSES', rig.QUICK):
            self.assertEqual(self.script(mark + '; cat # é', stdin='in'), 'in')
        self.assertTrue(lost)
        self.assertRunOnce(path)

    def test_an_id_of_another_script_is_refused(self):
        job_id = uuid.uuid4().hex
        self.script('echo a', job_id=job_id)
        for text in ('echo b', 'echo long'):
            with self.assertRaises(sidecar__helper.SidecarRefused) as caught:
                self.helper.script(text, job_id=job_id)
            self.assertEqual(caught.exception.status, 422)
        known = self.helper.job(job_id)
        for body in ({'script': 'echo long'}, {'command': 'echo a'}, {'scriptBase64': 'eA=='}):
            with self.assertRaises(sidecar__helper.SidecarRefused):
                sidecar__helper._check_same(known, dict(body, jobId=job_id))
        sidecar__helper._check_same(known, {'script': 'echo b', 'jobId': job_id})
        sidecar__helper._check_same(known, {'scriptBase64': 'ZWNobyBh', 'jobId': job_id})


if __name__ == '__main__':
    unittest.main()
