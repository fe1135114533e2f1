"""The files for Script Set Import and for a Script Market, against what Func reads of them. The Go
test has written both from the scripts of this folder.
"""
import ast
import builtins
import hashlib
import inspect
import json
import os
import types
import unittest
import zipfile

import rig
import standin
import test_func

ARCHIVE, TREE = 'scripts.zip', 'func'
NAMES = ['wire', 'helper', 'fleet', 'callback', 'example']
MEMBERS = ['META.yaml', 'NOTE.txt'] + ['script-sets/sidecar/%s.py' % name for name in NAMES]


def member(path):
    with open(os.path.join(TREE, path), 'rb') as file:
        return file.read()


def md5(data):
    return hashlib.md5(data).hexdigest()


def sorted_json(value):
    return json.dumps(value, sort_keys=True, separators=(',', ':'), ensure_ascii=False).encode('utf-8')


def funcs(script_id, code):
    """Returns the entries of a script's functions, by Python's own parser."""
    found = []
    for node in ast.parse(code).body:
        for decorator in getattr(node, 'decorator_list', []):
            if ast.dump(decorator.func) != ast.dump(ast.parse('DFF.API', mode='eval').body):
                continue
            scope = {}
            plain = ast.Module([ast.FunctionDef(
                node.name, node.args, node.body, [], lineno=1, col_offset=0,
                **({'type_params': []} if hasattr(node, 'type_params') else {}))], [])
            exec(compile(ast.fix_missing_locations(plain), script_id, 'exec'), scope)
            function = scope[node.name]
            parameters = inspect.signature(function).parameters.values()
            found.append({
                'id': '%s.%s' % (script_id, node.name), 'name': node.name,
                'title': ast.literal_eval(decorator.args[0]),
                'description': inspect.cleandoc(function.__doc__) if function.__doc__ else None,
                'definition': node.name + str(inspect.signature(function)),
                'argsJSON': [p.name for p in parameters],
                'kwargsJSON': {p.name: {} if p.default is p.empty else {'default': p.default}
                               for p in parameters},
                'extraConfigJSON': {}, 'category': 'general', 'integration': None,
                'tagsJSON': None, 'defOrder': len(found)})
    return found


class Tree(unittest.TestCase):
    def setUp(self):
        self.text = member('META.yaml').decode('utf-8')
        self.meta = json.loads(self.text)

    def test_the_zip_and_the_tree_have_the_same_files(self):
        with zipfile.ZipFile(ARCHIVE) as archive:
            self.assertIsNone(archive.testzip())
            self.assertEqual(archive.namelist(), MEMBERS)
            for info in archive.infolist():
                self.assertEqual(archive.read(info), member(info.filename))
                self.assertEqual(info.date_time, (2026, 11, 23, 0, 0, 0))
                self.assertEqual(info.compress_type, zipfile.ZIP_STORED)
                self.assertEqual(info.external_attr >> 16, 0o100644)
        there = [os.path.relpath(os.path.join(folder, name), TREE)
                 for folder, _, names in os.walk(TREE) for name in names]
        self.assertEqual(sorted(there), sorted(MEMBERS))

    def test_the_scripts_are_those_of_the_repository(self):
        for name in NAMES:
            with open('sidecar__%s.py' % name, 'rb') as file:
                self.assertEqual(member('script-sets/sidecar/%s.py' % name), file.read())

    def test_the_description_is_in_the_form_that_func_reads(self):
        self.assertEqual(list(self.meta), ['version', 'extra', 'scriptSets'])
        self.assertEqual((self.meta['version'], list(self.meta['extra'])), (2, ['note']))
        scripts = []
        for name, given in zip(NAMES, self.meta['scriptSets'][0]['scripts']):
            code = member('script-sets/sidecar/%s.py' % name)
            scripts.append({
                'id': 'sidecar__' + name, 'title': given['title'],
                'description': given['description'], 'publishVersion': 1, 'type': 'python',
                'codeMD5': md5(code), 'updateTime': '2026-11-23T00:00:00Z',
                'funcs': funcs('sidecar__' + name, code)})
        given = self.meta['scriptSets'][0]
        counted = ('id', 'title', 'description', 'type', 'codeMD5')
        content = {
            'scriptSet': {}, 'id': 'sidecar', 'title': given['title'],
            'description': given['description'], 'requirements': None,
            'scripts': sorted(({key: script[key] for key in counted} for script in scripts),
                              key=lambda script: script['id'])}
        self.assertEqual(self.meta['scriptSets'], [{
            'id': 'sidecar', 'title': given['title'], 'description': given['description'],
            'requirements': None, 'originMD5': md5(sorted_json(content)), 'scripts': scripts}])
        self.assertEqual([one['name'] for one in scripts[4]['funcs']], test_func.PUBLISHED)
        for one in [given] + given['scripts']:
            self.assertTrue(one['title'] and one['description'], one['id'])

    def test_the_order_of_parameters_is_that_of_the_definition(self):
        for function in self.meta['scriptSets'][0]['scripts'][4]['funcs']:
            self.assertEqual(list(function['kwargsJSON']), function['argsJSON'])

    def test_a_yaml_parser_reads_the_same(self):
        for line in self.text.split('\n'):  # where there is no parser: every checksum is quoted
            if 'MD5' in line:
                self.assertRegex(line, r'^ *"(code|origin)MD5": "[0-9a-f]{32}",$')
        self.assertNotIn('\t', self.text)
        try:
            import yaml
        except ImportError:
            return
        self.assertEqual(yaml.safe_load(self.text), self.meta)

    def test_it_sets_no_environment_variables(self):
        self.assertNotIn('envvariables', self.text.lower())

    def test_each_script_imports_only_those_before_it(self):
        known = set()
        for name in NAMES:
            for node in ast.walk(ast.parse(member('script-sets/sidecar/%s.py' % name))):
                for alias in getattr(node, 'names', []) if isinstance(node, ast.Import) else []:
                    if alias.name.startswith('sidecar'):
                        self.assertIn(alias.name, known)
            known.add('sidecar__' + name)


class Scope:
    """Loads the scripts of the ZIP as Func does: DFF and the request are names of each script, and
    an import of another script comes from the set.
    """

    def __init__(self, dff, request=None):
        self.names, self.loaded = {'DFF': dff, '_DFF_HTTP_REQUEST': request or {}}, {}

    def load(self, script_id):
        if script_id not in self.loaded:
            module = types.ModuleType(script_id)
            module.__dict__.update(self.names, __builtins__=dict(
                vars(builtins), __import__=self._import))
            with zipfile.ZipFile(ARCHIVE) as archive:
                path = 'script-sets/%s/%s.py' % tuple(script_id.split('__'))
                exec(compile(archive.read(path), script_id, 'exec'), module.__dict__)
            self.loaded[script_id] = module
        return self.loaded[script_id]

    def _import(self, name, *arguments, **named):
        if name.startswith('sidecar__'):
            return self.load(name)
        return builtins.__import__(name, *arguments, **named)


class Imported(rig.DaemonCase):
    def test_the_imported_scripts_run(self):
        dff = standin.DFF({'sidecar': test_func.settings()})
        example = Scope(dff).load('sidecar__example')
        self.assertEqual(list(dff.published), test_func.PUBLISHED)
        self.assertEqual(example.run('echo "hello $NAME"', name='Tom'), 'hello Tom\n')
        with self.assertRaisesRegex(ValueError, 'there is no HTTP request'):
            example.cb('', '')

    def test_every_function_can_be_called_by_its_description(self):
        example = Scope(standin.DFF({'sidecar': test_func.settings()})).load('sidecar__example')
        meta = json.loads(member('META.yaml').decode('utf-8'))
        for function in meta['scriptSets'][0]['scripts'][4]['funcs'][:2]:
            defaults = {name: value['default'] for name, value in function['kwargsJSON'].items()}
            getattr(example, function['name'])(**dict(defaults, command='true'))


if __name__ == '__main__':
    unittest.main()
