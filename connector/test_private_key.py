"""Requests that are signed with a private key, as docs/protocol.md, HTTP message signatures, says."""
import sys
import time
import traceback
import unittest
from unittest import mock

import rig
import sidecar__callback
import sidecar__fleet
import sidecar__helper
import sidecar__wire
import standin
from test_key import reachable

try:
    import cryptography
except ImportError:
    cryptography = None

Helper, Refused = sidecar__helper.SidecarHelper, sidecar__helper.SidecarRefused


def private():
    with open('private.pem', encoding='utf-8') as file:
        return file.read()


def is_in(texts):
    """Returns whether the part of the private key that no other key has is in a text."""
    return any(private().split('\n')[1][24:] in text for text in texts)


class PrivateKey(rig.DaemonCase):
    def test_it_runs_commands(self):
        for helper in (Helper.from_url(rig.URL, private_key=private()), Helper.from_url(rig.URL, private()),
                       Helper.from_url(rig.URL, '\n' + private()),
                       Helper.from_url(rig.TLS_URL, ca_file='ca.pem', private_key=private())):
            self.assertEqual(helper.permissions()['key'], 'fleet')
            data = helper.shell('echo "$A"', envs={'A': 'ä'})[1]['data']
            self.assertEqual(data['stdout'], 'ä\n')
            self.assertEqual(b''.join(helper.output(data['jobId'])).decode('utf-8'), 'ä\n')

    def test_it_is_in_place_of_the_key_of_a_connector(self):
        protocol, _, address = rig.URL.partition('://')
        host, _, port = address.partition(':')
        connector = standin.StockHelper(dict(host=host, port=port, protocol=protocol, secretKey='another'))
        self.assertEqual(Helper.from_connector(connector, private_key=private()).permissions()['key'], 'fleet')
        connector = standin.StockHelper(dict(host=host, port=port, protocol=protocol, secretKey=private()))
        self.assertEqual(Helper.from_connector(connector).permissions()['key'], 'fleet')

    def test_many_hosts_have_its_public_key(self):
        fleet = sidecar__fleet.SidecarFleet.from_urls([rig.URL] + rig.OTHER_URLS, private())
        done = fleet.shell('echo in')
        self.assertEqual([result.stdout for result in done.ok], ['in\n'] * 3, str(done))

    def test_another_host_refuses_what_is_signed_for_one(self):
        helper = Helper.from_url(rig.OTHER_URLS[0], private_key=private())
        helper._wire._authority = rig.URL.partition('://')[2]
        with self.assertRaisesRegex(Refused, 'signed for another host'):
            helper.permissions()

    def test_a_callback_needs_a_secret(self):
        helper = Helper.from_url(rig.URL, private_key=private())
        with self.assertRaisesRegex(Refused, 'the key fleet has no SECRET'):
            helper.shell('true', callback_url=rig.URL)
        headers = {'X-Auth-Signature': '', 'X-Auth-Timestamp': str(int(time.time()))}
        with self.assertRaisesRegex(ValueError, 'verifies no callback'):
            sidecar__callback.verify_callback(private(), '/', headers, b'{"kwargs":{}}')

    def test_what_is_signed_of_the_host(self):
        for url, want in (('http://Web1.example.com:80', 'web1.example.com'), ('http://[FD00::1]:443', '[fd00::1]:443'),
                          ('https://web1.example.com:443', 'web1.example.com'), ('http://web1', 'web1:8099'),
                          ('http://B\u00fccher.example', 'xn--bcher-kva.example:8099')):
            self.assertEqual(Helper.from_url(url, private_key=private())._wire._authority, want)

    def test_the_host_is_sent_as_it_is_signed(self):
        port = int(rig.URL.rpartition(':')[2])
        for host in ('LOCALHOST', '127.0.0.1'):
            self.assertEqual(Helper(host, port, private_key=private()).permissions()['key'], 'fleet')
        wire = Helper('FE80::1%eth0', 80, private_key=private())._wire
        self.assertEqual(wire._key.headers('GET', wire._authority, '/jobs', b'', '1')['Host'], '[fe80::1]')

    def test_it_is_not_kept(self):
        helper = Helper.from_url(rig.URL, private_key=private())
        helper.shell('true')
        self.assertFalse(is_in(reachable(helper) + [repr(vars(helper))]), 'the helper has it')
        for action in (lambda: helper.job('never-was'), lambda: Helper('a b', 1, private_key=private()),
                       lambda: Helper.from_url('ftp://x', private_key=private()),
                       lambda: Helper.from_connector(private(), private_key=private())):
            try:
                action()
            except (Refused, ValueError) as error:
                report = traceback.TracebackException.from_exception(error, capture_locals=True).format()
                own = [part for part in report if '/sidecar__' in part]
                self.assertTrue(own)
                self.assertFalse(is_in(own), 'a traceback has it')
            else:
                self.fail('there was no error')

    def test_what_is_no_private_key_is_refused(self):
        for text in ('', 'secret', private()[:60], private().replace('PRIVATE', 'PUBLIC'), 5, b'x'):
            with self.assertRaisesRegex(ValueError, 'text of an Ed25519 private key in PEM'):
                Helper.from_url(rig.URL, private_key=text)
        with self.assertRaisesRegex(ValueError, 'text of an Ed25519 private key in PEM'):
            Helper.from_url(rig.URL, '\ufeff' + private())  # not an HMAC under it


class WithoutCryptography(unittest.TestCase):
    def test_the_error_says_what_to_install(self):
        names = ('cryptography', 'cryptography.hazmat.primitives', 'cryptography.hazmat.primitives.asymmetric')
        with mock.patch.dict(sys.modules, dict.fromkeys(names)):
            with self.assertRaisesRegex(ValueError, r'needs the Python package cryptography, .*\(pip install cryptography, '):
                Helper.from_url(rig.URL, private_key=private())
            Helper.from_url(rig.URL, 'a secret needs nothing')


if cryptography is None:  # TestPython_HasCryptography fails if no Python here has it
    del PrivateKey

if __name__ == '__main__':
    unittest.main()
