"""The scripts as texts: what they need of Python, and that Func can load them in each of its
ways.
"""
import ast
import unittest

SCRIPTS = ('sidecar__wire', 'sidecar__helper', 'sidecar__fleet', 'sidecar__callback', 'sidecar__example')

# What the scripts use of the standard library. All of it is in Python 3.8; look a new one up before adding it.
IN_PYTHON_38 = {
    'base64.b64decode', 'base64.b64encode', 'codecs.getincrementaldecoder', 'collections.Counter', 'collections.deque',
    'contextlib.closing', 'contextlib.contextmanager', 'contextlib.suppress', 'heapq.heappop', 'heapq.heappush',
    'hashlib.sha1', 'hashlib.sha256', 'hmac.compare_digest', 'hmac.new', 'http.client.HTTPConnection',
    'http.client.HTTPException', 'http.client.HTTPResponse', 'http.client.HTTPSConnection',
    'http.client.IncompleteRead', 'io.BufferedReader', 'io.RawIOBase', 'json.dumps', 'json.loads', 'queue.Empty',
    'queue.SimpleQueue', 're.compile', 're.match',
    'socket.IPPROTO_TCP', 'socket.SOL_SOCKET', 'socket.SO_KEEPALIVE', 'socket.socket', 'ssl.SSLContext',
    'ssl.SSLError', 'ssl.create_default_context', 'threading.Thread', 'time.monotonic', 'time.sleep', 'time.time',
    'unicodedata.category', 'uuid.uuid4',
}
TYPES = {'Any', 'Dict', 'Iterable', 'Iterator', 'List', 'Mapping', 'Optional', 'Tuple', 'Union'}
SINCE_39 = {'removeprefix', 'removesuffix', 'randbytes', 'lcm', 'file_digest', 'bit_count', 'readline_into'}


def source(script):
    with open(script + '.py', encoding='utf-8') as file:
        return file.read()


class Scripts(unittest.TestCase):
    def nodes(self, kind):
        for script in SCRIPTS:
            for node in ast.walk(ast.parse(source(script), feature_version=(3, 8))):
                if isinstance(node, kind):
                    yield script, node

    def test_python_38_can_read_them(self):
        with self.assertRaises(SyntaxError):  # that the check can fail
            ast.parse('match x:\n    case 1: pass\n', feature_version=(3, 8))
        self.assertGreater(len(list(self.nodes(ast.FunctionDef))), 40)

    def test_they_use_nothing_that_python_38_lacks(self):
        modules, used = set(), set()
        for script, node in self.nodes((ast.Import, ast.ImportFrom)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith('cryptography.'):
                self.assertEqual(script, 'sidecar__wire')  # which explains it if it is missing
            elif isinstance(node, ast.ImportFrom):
                self.assertEqual(node.module, 'typing', script)
                self.assertLessEqual({name.name for name in node.names}, TYPES, script)
            else:
                modules |= {name.name for name in node.names}
        for _, node in self.nodes(ast.Attribute):
            self.assertNotIn(node.attr, SINCE_39)
            dotted = ast.dump(node.value)
            for module in modules:
                if dotted == ast.dump(ast.parse(module, mode='eval').body) and not module.startswith('sidecar__'):
                    used.add('%s.%s' % (module, node.attr))
        self.assertEqual(used - {'http.client'}, IN_PYTHON_38)
        for script, node in self.nodes(ast.Subscript):  # list[str] needs 3.9
            self.assertNotIn(getattr(node.value, 'id', ''), {'list', 'dict', 'tuple', 'set', 'type'}, script)

    def test_they_need_no_name_and_no_file(self):
        for script in SCRIPTS[:4]:
            space = {}
            exec(compile('pasted = True\n' + source(script), script, 'exec'), space)
            self.assertGreater(len(space), 3)

    def test_only_the_example_prints_and_knows_func(self):
        for script, node in self.nodes(ast.Name):
            if node.id in ('print', 'DFF', '_DFF_HTTP_REQUEST'):
                self.assertEqual(script, 'sidecar__example')
        for script, node in self.nodes(ast.Import):
            self.assertNotIn('logging', {name.name for name in node.names}, script)

    def test_the_scripts_name_each_other_as_they_are_called(self):
        for script, node in self.nodes(ast.Import):
            for name in node.names:
                if name.name.startswith('sidecar'):
                    self.assertIn(name.name, SCRIPTS, script)


if __name__ == '__main__':
    unittest.main()
