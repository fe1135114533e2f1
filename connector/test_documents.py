"""The examples in the documents, run as they are."""
import contextlib
import io
import re
import textwrap
import unittest

import rig
import sidecar__callback
import sidecar__helper
import standin
import test_callback
import test_func


def examples(document):
    with open(document, encoding='utf-8') as file:
        blocks = re.findall(r'^ *```python\n(.*?)^ *```$', file.read(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


class Documents(rig.DaemonCase):
    def scope(self):
        """Returns what the examples take from Func, and from a callback."""
        with test_callback.receiver() as (taken, url):
            self.helper.shell('echo out', callback_url=url)
            path, headers, body = taken.get(timeout=20)
        return {
            'DFF': standin.DFF({name: test_func.settings() for name in ('sidecar', 'web1', 'web2')}),
            '_DFF_HTTP_REQUEST': standin.http_request(path, headers, body),
            'sidecar__callback': sidecar__callback, 'sidecar__helper': sidecar__helper,
            'key': rig.key(), 'path': path, 'headers': headers, 'raw_body': body,
        }

    def test_every_example_runs(self):
        for document in ('README.md', 'connector.md'):
            scope, blocks = self.scope(), examples(document)
            scope['_DFF_FUNC_ID'] = 'demo.deploy'
            self.assertGreaterEqual(len(blocks), 7, document)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                for block in blocks:
                    exec(compile(block, document, 'exec'), scope)
                self.assertEqual(scope['run']('Tom'), 'hello Tom\n')
                self.assertEqual(scope['report'](['a', 'b']), 'rows: 2\n')
                scope['backup']()
                job = scope['ask'](scope['start_backup']())
                self.assertEqual(scope['deploy']('v1.2'), 'v1.2 to \n')
                labels = self.helper.jobs()[0]['labels']
                hosts = scope['deploy_all']('v1.2')
                scope['cb']('out\n', '')
            self.assertEqual(labels, {'func': 'demo.deploy', 'user': 'alice'})
            self.assertEqual([host['stdout'] for host in hosts.values()], ['v1.2 to \n'] * 2)
            self.assertIn('2 ok\n', printed.getvalue())
            self.assertIn(job['state'], ('queued', 'running', 'ended'))
            self.assertEqual(scope['got']['stdout'], 'out\n')
            self.assertTrue(printed.getvalue().endswith(' 1 exited 0 out\n\n'), document)

    def test_so_do_those_about_keys(self):
        for document in ('keys.md', 'zh-CN-keys.md'):
            func = standin.DFF({'sidecar': test_func.settings(secretKey=rig.key('deploy'))})
            scope, blocks = {'DFF': func}, examples(document)
            self.assertEqual(len(blocks), 2, document)
            for block in blocks:
                exec(compile(block, document, 'exec'), scope)
            self.assertEqual(scope['deploy']('v1.2'), 'v1.2 to \n')
            self.assertIsNone(scope['expiry']())


if __name__ == '__main__':
    unittest.main()
