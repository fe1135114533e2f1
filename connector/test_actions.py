"""Named keys and actions: what a restricted key may do, with this connector and with the stock one.

The configuration is in daemon_test.go.
"""
import contextlib
import io
import json
import unittest
import urllib.error
import uuid
from unittest import mock

import rig
import sidecar__callback
import sidecar__helper
import standin
import test_callback
import test_func

Refused = sidecar__helper.SidecarRefused


class KeyCase(rig.DaemonCase):
    """A test with helpers for the keys deploy, backup, monitor and free, besides `helper`, whose
    key may do everything.
    """

    def setUp(self):
        super().setUp()
        self.deploy, self.backup, self.monitor, self.free = [
            rig.make_helper(name=name) for name in ('deploy', 'backup', 'monitor', 'free')]

    def refused(self, status, call, *arguments, **named):
        with self.assertRaises(Refused) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.status, status, str(caught.exception))
        return str(caught.exception)

    def held(self, helper, **arguments):
        """Starts the action hold, which runs until the function that is returned is called."""
        gate = '%s/%s' % (rig.SCRATCH, uuid.uuid4().hex)
        _, result = helper.run('hold', GATE=gate, wait=False, **arguments)
        return result['data']['jobId'], lambda: self.run_command('touch ' + gate)


class Run(KeyCase):
    def test_variables_are_arguments_in_upper_case(self):
        status, result = self.deploy.run('deploy', VERSION='v1.2', TARGET='west')
        self.assertEqual((status, result['ok'], result['message']), (200, True, ''))
        data = result['data']
        self.assertEqual((data['stdout'], data['exitCode']), ('v1.2 to west\n', 4))

    def test_envs_and_arguments_are_one(self):
        for envs, variables in (({'VERSION': 'v1'}, {'TARGET': 'west'}), ({}, {'VERSION': 'v1', 'TARGET': 'west'}),
                                ({'VERSION': 'v1', 'TARGET': 'west'}, {})):
            _, result = self.deploy.run('deploy', envs, **variables)
            self.assertEqual(result['data']['stdout'], 'v1 to west\n')
        _, result = self.backup.run('backup', envs={'dir': '/srv'})  # a name in lower case
        self.assertEqual(result['data']['stdout'], 'backup of /srv\n')

    def test_a_default_may_be_left_out(self):
        _, result = self.deploy.run('deploy', VERSION='v1', check=True)
        self.assertEqual(result['data']['stdout'], 'v1 to \n')

    def test_check_raises_for_an_action_that_fails(self):
        with self.assertRaises(sidecar__helper.SidecarFailed) as caught:
            self.deploy.run('deploy', VERSION='v1', TARGET='west', check=True)
        self.assertEqual(caught.exception.exit_code, 4)

    def test_every_key_that_may_runs_the_same_action(self):
        for helper in (self.helper, self.free, self.deploy):
            self.assertEqual(helper.run('deploy', VERSION='v1')[1]['data']['stdout'], 'v1 to \n')

    def test_a_repetition_with_the_same_id_runs_nothing(self):
        job_id = uuid.uuid4().hex
        repeated = [self.deploy.run('deploy', VERSION='v1', job_id=job_id)[1]['data']['repeated'] for _ in range(2)]
        self.assertEqual(repeated, [False, True])
        self.assertIn('another request', self.refused(422, self.deploy.run, 'deploy', VERSION='v2', job_id=job_id))

    def test_arguments_that_cannot_be_meant_are_told_before_anything_is_sent(self):
        for named, message in ((dict(version='v1'), r"no argument 'version'.*VERSION=….*envs=\{'version'"),
                               (dict(timout=3), "no argument 'timout'"), (dict(Version='v1'), "no argument 'Version'"),
                               (dict(workdir='/'), "no argument 'workdir'")):
            with self.assertRaisesRegex(TypeError, message):
                self.deploy.run('deploy', **named)
        with self.assertRaises(TypeError):  # options are never taken from a position
            self.deploy.run('deploy', None, False)
        for envs, message in (({'VERSION': 'v1'}, "'VERSION' is given twice"), (['VERSION=v1'], 'must be a dict')):
            with self.assertRaisesRegex(ValueError, message):
                self.deploy.run('deploy', envs, VERSION='v2')
        with self.assertRaisesRegex(ValueError, 'check=True needs wait=True'):
            self.deploy.run('deploy', VERSION='v1', wait=False, check=True)


class Refusals(KeyCase):
    def test_a_value_that_does_not_match_is_told_with_the_pattern(self):
        for value in ('1.2', 'v1; id', 'v1\n', '', '--help'):
            message = self.refused(400, self.deploy.run, 'deploy', VERSION=value)
            self.assertIn('VERSION', message)
            self.assertIn('v[0-9]+', message)

    def test_a_variable_that_is_missing_or_not_declared_is_told(self):
        self.assertIn('VERSION', self.refused(400, self.deploy.run, 'deploy'))
        self.assertIn('PATH', self.refused(400, self.deploy.run, 'deploy', VERSION='v1', PATH='/tmp'))

    def test_an_action_that_the_key_may_not_run_is_forbidden_with_what_it_may_run(self):
        for call in (self.deploy.run, self.deploy.shell):
            for what in ('backup', 'nothing', 'id', 'deploy; id', ' deploy'):
                message = self.refused(403, call, what)
                self.assertIn('the key deploy may run', message)
                self.assertIn('deploy, hold, hostname', message)
                self.assertIn('let an operator change it', message)
        self.assertIn('the key monitor', self.refused(403, self.monitor.run, 'deploy', VERSION='v1'))

    def test_a_workdir_of_an_action_is_refused(self):
        self.assertIn('workdir', self.refused(400, self.deploy.shell, 'hostname', workdir='/tmp'))

    def test_an_unknown_action_is_told_to_a_free_key_with_the_names(self):
        self.assertIn('hostname', self.refused(400, self.free.run, 'hostnam'))

    def test_an_expired_key_is_told(self):
        past = rig.make_helper(name='past')
        self.assertIn('2026', self.refused(403, past.shell, 'true'))
        self.assertIn('the key past', self.refused(403, past.jobs))

    def test_an_action_that_runs_already_is_refused_without_the_id_of_the_other_job(self):
        job_id, let_go = self.held(self.deploy)
        message = self.refused(409, self.free.run, 'hold', GATE='/x')
        self.assertIn('hold', message)
        self.assertNotIn(job_id, message)
        let_go()
        self.deploy.result(job_id)
        job_id, let_go = self.held(self.free)  # it can run again
        let_go()


class Actions(KeyCase):
    def test_a_key_sees_the_actions_that_it_may_run(self):
        found = {action['name']: action for action in self.deploy.actions()}
        self.assertEqual(list(found), ['deploy', 'hold', 'hostname'])
        self.assertEqual(found['deploy'], {
            'name': 'deploy', 'description': 'Deploys a version', 'timeout': 600, 'oneAtATime': None,
            'stdin': False,
            'envs': {'TARGET': {'pattern': '[a-z]*', 'required': False},
                     'VERSION': {'pattern': r'v[0-9]+(\.[0-9]+)*', 'required': True}}})
        self.assertEqual((found['hold']['oneAtATime'], found['hold']['timeout']), ('refuse', None))
        self.assertEqual(self.monitor.actions(), [])
        self.assertEqual([action['name'] for action in self.free.actions()],
                         ['backup', 'count', 'deploy', 'hold', 'hostname'])

    def test_a_key_is_told_what_it_may_do(self):
        told = [(p['key'], p['anyCommand'], p['expiresAt'])
                for p in (helper.permissions() for helper in (self.deploy, self.monitor, self.free, self.helper))]
        self.assertEqual(told, [('deploy', False, None), ('monitor', False, None), ('free', True, None),
                                ('default', True, None)])


class Labels(KeyCase):
    def test_labels_are_those_of_the_job(self):
        labels = {'user': 'alice 你好', 'ticket': 42}
        want = {'user': 'alice 你好', 'ticket': '42'}
        for result in (self.helper.shell('true', labels=labels), self.deploy.run('deploy', VERSION='v1', labels=labels)):
            job_id = result[1]['data']['jobId']
            self.assertEqual(next(job for job in self.helper.jobs() if job['jobId'] == job_id)['labels'], want)
        job = self.deploy.job(job_id)
        self.assertEqual((job['labels'], job['key'], job['action']), (want, 'deploy', 'deploy'))
        job_id = self.run_command('true', labels={})['jobId']
        self.assertNotIn('labels', self.helper.job(job_id))

    def test_labels_that_cannot_be_any_are_not_sent(self):
        for labels in ({'User': 'a'}, {'1': 'a'}, {'a-b': 'a'}, {'a' * 33: 'a'}, {'': 'a'}, {1: 'a'}, {'a': ''},
                       {'a': 'x' * 129}, {'a': None}, {'a': True}, {'a': 1.5}, ['a'], 'a',
                       {'a%d' % i: 'a' for i in range(9)}):
            with self.assertRaisesRegex(ValueError, 'label'):
                self.helper.shell('true', labels=labels)
            with self.assertRaisesRegex(ValueError, 'label'):
                self.helper.run('hostname', labels=labels)

    def test_what_func_gives_a_script_becomes_labels(self):
        given = {'_DFF_SCRIPT_ID': 'demo__basic', '_DFF_FUNC_ID': 'demo__basic.hello', '_DFF_TASK_ID': 'task-1',
                 '_DFF_HTTP_REQUEST': {}, 'other': 'x'}
        want = {'script': 'demo__basic', 'func': 'demo__basic.hello', 'task': 'task-1'}
        self.assertEqual(sidecar__helper.func_labels(given), want)
        self.assertEqual(sidecar__helper.func_labels(given, user='alice'), dict(want, user='alice'))
        self.assertEqual(sidecar__helper.func_labels({'_DFF_FUNC_ID': 'f' * 200}), {'func': 'f' * 128})
        self.assertEqual(sidecar__helper.func_labels(globals()), {})  # outside Func
        labels = sidecar__helper.func_labels(given)
        self.assertEqual(self.helper.job(self.run_command('true', labels=labels)['jobId'])['labels'], want)


class Jobs(KeyCase):
    def test_a_key_sees_its_own_jobs_only(self):
        own = self.deploy.run('deploy', VERSION='v1')[1]['data']['jobId']
        other = self.backup.run('backup', envs={'dir': '/srv'})[1]['data']['jobId']
        self.assertEqual({job['key'] for job in self.deploy.jobs()}, {'deploy'})
        self.assertEqual(self.deploy.job(own)['stdout'], 'v1 to \n')
        for job_id in (other, 'backup:' + other):
            self.refused(404, self.deploy.job, job_id)
            self.refused(404, self.deploy.cancel, job_id)
            with self.assertRaises(Refused):
                list(self.deploy.output(job_id))

    def test_one_that_sees_all_names_the_key_where_an_id_is_not_unique(self):
        job_id = uuid.uuid4().hex
        self.deploy.run('deploy', VERSION='v1', job_id=job_id)
        self.assertEqual(self.monitor.job(job_id)['key'], 'deploy')
        self.backup.run('backup', envs={'dir': '/srv'}, job_id=job_id)
        self.assertIn(job_id, self.refused(409, self.monitor.job, job_id))
        self.assertEqual(self.monitor.job('deploy:' + job_id)['stdout'], 'v1 to \n')
        self.assertEqual(list(self.monitor.lines('backup:' + job_id)), ['backup of /srv'])
        self.assertEqual(self.monitor.result('backup:' + job_id)['key'], 'backup')
        self.assertEqual(self.backup.job(job_id)['key'], 'backup')
        for wrong in (':' + job_id, 'Deploy:' + job_id, 'a:b:c', 'deploy:', 'x' * 33 + ':a'):
            with self.assertRaises(ValueError):
                self.monitor.job(wrong)

    def test_one_that_sees_all_cancels_them(self):
        job_id, _ = self.held(self.deploy)
        self.monitor.cancel('deploy:' + job_id)
        self.assertEqual(self.deploy.result(job_id)['ended'], 'cancelled')

    def test_a_callback_is_signed_with_the_key_of_its_job(self):
        with test_callback.receiver() as (taken, url):
            self.deploy.run('deploy', VERSION='v1', callback_url=url)
            path, headers, body = taken.get(timeout=20)
        self.assertEqual(sidecar__callback.verify_callback(rig.key('deploy'), path, headers, body)['stdout'], 'v1 to \n')
        with self.assertRaisesRegex(ValueError, 'not signed with this key'):
            sidecar__callback.verify_callback(rig.key(), path, headers, body)
        sidecar__callback.verify_callback([rig.key(), rig.key('deploy')], path, headers, body)


class Recovery(KeyCase):
    @contextlib.contextmanager
    def relayed(self, name, *plan):
        relay = rig.Relay(*plan)
        with rig.server(relay) as url, mock.patch.object(sidecar__helper, 'PAUSES', rig.QUICK):
            yield relay, rig.make_helper(url, name=name)

    def test_an_action_whose_answer_was_lost_is_not_run_again(self):
        for name in ('deploy', 'free', None):
            for treatment, posts in (('lose', 1), ('cut', 1), ('drop', 2)):
                with self.relayed(name, treatment) as (relay, helper):
                    _, result = helper.run('deploy', VERSION='v1', TARGET='west')
                self.assertEqual((result['data']['stdout'], result['data']['exitCode']), ('v1 to west\n', 4))
                self.assertEqual(len(relay.posts()), posts)

    def test_so_is_one_of_shell_with_a_restricted_key(self):
        with self.relayed('deploy', 'lose') as (relay, helper):
            self.assertEqual(helper.shell('deploy', envs={'VERSION': 'v1'})[1]['data']['stdout'], 'v1 to \n')
        self.assertEqual(len(relay.posts()), 1)

    def test_an_action_that_is_refused_while_it_runs_is_the_own_one(self):
        with self.relayed('deploy', 'lose') as (relay, helper):
            job_id, let_go = self.held(helper)
        self.assertEqual(self.deploy.job(job_id)['state'], 'running')
        let_go()

    def test_a_job_of_another_key_with_this_id_is_not_taken_for_the_own_one(self):
        job_id = uuid.uuid4().hex
        self.deploy.run('deploy', VERSION='v1', TARGET='west', job_id=job_id)
        with self.relayed(None, 'drop') as (relay, helper):
            data = helper.run('deploy', VERSION='v1', job_id=job_id)[1]['data']
        self.assertEqual((data['stdout'], len(relay.posts())), ('v1 to \n', 2))

    def test_a_job_of_another_action_is_not_taken_for_a_lost_one(self):
        job_id = self.deploy.run('hostname')[1]['data']['jobId']
        for call, arguments in (('run', ('deploy', {'VERSION': 'v1'})), ('shell', ('deploy',))):
            with self.relayed('deploy', 'drop') as (_, helper):
                message = self.refused(422, getattr(helper, call), *arguments, job_id=job_id)
                self.assertIn('belongs to another', message)


class StockConnector(KeyCase):
    """Func's own connector, unchanged, with a restricted key."""

    def stock(self, name, kind=standin.FormerStockHelper):
        return kind(test_func.settings(secretKey=rig.key(name), timeout=10))

    def call(self, method, *arguments, **named):
        """Returns status and answer, also of a refusal."""
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                return method(*arguments, **named)
            except urllib.error.HTTPError as refusal:
                with refusal:
                    return refusal.code, json.loads(refusal.read())

    def test_the_name_of_an_action_is_its_command(self):
        status, answer = self.call(self.stock('deploy').shell, 'deploy', envs=['VERSION=v1.2', 'TARGET=west'])
        self.assertEqual((status, answer['data']['stdout']), (200, 'v1.2 to west\n'))
        status, answer = self.call(self.stock('deploy', standin.StockHelper).call, 'POST', '/shell',
                                   body={'command': 'deploy', 'envs': ['VERSION=v1.2']})
        self.assertEqual((status, answer['data']['stdout']), (200, 'v1.2 to \n'))

    def test_it_does_not_have_to_wait(self):
        status, answer = self.call(self.stock('deploy').shell, 'deploy', wait=False, envs=['VERSION=v1'])
        self.assertEqual((status, self.deploy.result(answer['data']['jobId'])['stdout']), (200, 'v1 to \n'))

    def test_a_callback_is_signed_with_its_key(self):
        with test_callback.receiver() as (taken, url):
            self.call(self.stock('deploy').shell, 'deploy', False, None, ['VERSION=v1'], url)
            request = standin.http_request(*taken.get(timeout=20))
        self.assertEqual(sidecar__callback.verify_call(self.stock('deploy'), request)['stdout'], 'v1 to \n')

    def test_the_connection_test_needs_an_action_hostname(self):
        status, answer = self.call(self.stock('deploy').shell, 'hostname')
        self.assertEqual((status, answer['data']['exitCode']), (200, 0))
        for name in ('backup', 'monitor'):
            status, answer = self.call(self.stock(name).shell, 'hostname')
            self.assertEqual((status, answer['ok']), (403, False))
            self.assertIn('the key %s' % name, answer['message'])

    def test_its_envs_are_checked(self):
        status, answer = self.call(self.stock('deploy').shell, 'deploy', envs=['VERSION=$(id)'])
        self.assertEqual(status, 400)
        self.assertIn('v[0-9]+', answer['message'])

    def test_repaired_it_raises_what_the_daemon_says(self):
        stock = sidecar__helper.repair(self.stock('deploy', standin.StockHelper))
        self.assertEqual(stock.shell('deploy', envs={'VERSION': 'v1'})[1]['data']['stdout'], 'v1 to \n')
        with self.assertRaisesRegex(Exception, 'the key deploy may run'):
            stock.shell('id')
        self.assertEqual(stock.call('GET', '/actions')[1]['data']['key'], 'deploy')


if __name__ == '__main__':
    unittest.main()
