"""Stand-ins for DataFlux Func: what a script finds there, by observation of real installations."""
import hashlib
import hmac
import json
import time
import urllib.request
import uuid


class DFF:
    """The name DFF of a script. `connectors` are the settings of each connector by its id."""

    def __init__(self, connectors=None, **environment):
        self.connectors, self.environment = connectors or {}, environment
        self.published = {}

    def ENV(self, name):
        return self.environment.get(name)

    def CONN(self, name, timeout=None):
        return StockHelper(dict(self.connectors[name], timeout=timeout or 10))

    def API(self, title, **options):
        def publish(function):
            self.published[function.__name__] = title
            return function
        return publish


class StockHelper:
    """The stock connector since 5.1.1: shell() always passes a timeout that call() does not take,
    a dict of envs fails, and key and signed text go to the worker's standard output.
    """

    def __init__(self, config):
        self.config = config

    def shell(self, cmd, wait=True, workdir=None, envs=None, callback_url=None):
        given = dict(workdir=workdir, envs=envs, callbackURL=callback_url)
        if isinstance(envs, dict):
            given['envs'] = ['='.join(pair) for pair in envs.item()]
        body = {name: value for name, value in given.items() if value}
        return self.call('POST', '/shell', body=dict(body, command=cmd, wait=wait),
                         timeout=self.config['timeout'])

    def call(self, method, path=None, query=None, body=None):
        raw, key = json.dumps(body).encode(), self.config['secretKey'].encode()
        nonce, now = uuid.uuid4().hex, str(int(time.time()))
        signed = b'\n'.join([method.encode(), path.encode(), nonce.encode(), now.encode(), raw])
        print('signed:', signed, 'key:', key)
        request = urllib.request.Request(
            '%(protocol)s://%(host)s:%(port)s' % self.config + path, raw, method=method,
            headers={'Content-Type': 'application/json', 'X-Auth-Nonce': nonce,
                     'X-Auth-Timestamp': now,
                     'X-Auth-Signature': hmac.new(key, signed, hashlib.sha1).hexdigest().upper()})
        with urllib.request.urlopen(request, timeout=self.config['timeout']) as answer:
            return answer.status, json.loads(answer.read())


class FormerStockHelper(StockHelper):
    """The stock connector before 5.1.1, whose shell() works."""

    def call(self, method, path=None, query=None, body=None, timeout=None):
        return super().call(method, path, query, body)


def http_request(path, headers, body):
    """Returns what _DFF_HTTP_REQUEST is for a request with these headers and this raw body."""
    return {'method': 'POST', 'originalUrl': path, 'body': json.loads(body),
            'headers': {name.lower(): value for name, value in headers.items()}}
