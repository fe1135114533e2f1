"""Runs commands on the host of DataFlux Func through its Sidecar.

    import sidecar__helper

    helper = sidecar__helper.SidecarHelper.from_url(DFF.ENV('sidecar_url'), DFF.ENV('sidecar_secret_key'))
    status, result = helper.shell('echo $GREETING', envs={'GREETING': '你好'})
    result['data']['stdout'], result['data']['exitCode']     # '你好\n', 0

It takes the place of the stock connector's SidecarHelper, whose shell() raises in every release since July
2024. It needs Python 3.8, its standard library and the script sidecar__wire; nothing of Func itself.

Time. `timeout` is how long Func waits for an answer, never how long the command may run: when it has passed,
SidecarTimeout is raised and the command goes on. `command_timeout` is what ends the command.

Nothing runs twice. Each shell() has a job id. When a connection breaks, so that nobody can tell whether the
request arrived, the Sidecar is asked whether it has that job. If it has, the job's result is waited for; else
the request is sent again under the same id, which the Sidecar runs once at most, and with the timestamp of the
first try: as soon as the Sidecar may have forgotten the id, it refuses that timestamp too. To a Sidecar that
keeps no jobs (the original one) nothing is sent again.

The key is not kept: no attribute, repr, exception or traceback of these scripts holds it. They print nothing.
"""
import base64
import codecs
import re
import time
import uuid
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import sidecar__wire

SidecarError = sidecar__wire.SidecarError
SidecarUnreachable = sidecar__wire.SidecarUnreachable
SidecarLost = sidecar__wire.SidecarLost
SidecarTimeout = sidecar__wire.SidecarTimeout
SidecarRefused = sidecar__wire.SidecarRefused
SidecarBusy = sidecar__wire.SidecarBusy

TIMEOUT = 10.0  # seconds that Func waits for an answer, as the stock connector does
FOLLOW_TIMEOUT = 3600.0  # the same for output that is followed
PAUSES = (0.2, 1.0, 3.0)  # seconds before each further try after a broken connection
NOWHERE = 1 << 62  # an offset beyond any output: following from there waits for the job's end and reads nothing


class SidecarHelper:
    """The Sidecar at one address. It keeps no connection, and threads may share it."""

    def __init__(self, host: str, port: Union[int, str], secret_key: str, protocol: str = 'http',
                 ca_file: Optional[str] = None) -> None:
        """`ca_file` names the certificates to trust for https, if not those of this machine."""
        secret_key = sidecar__wire.SigningKey.of(secret_key)
        self._wire = sidecar__wire.Wire(host, port, secret_key, protocol, ca_file)

    @classmethod
    def from_url(cls, url: str, secret_key: str, ca_file: Optional[str] = None) -> 'SidecarHelper':
        """From a URL such as http://172.17.0.1:8099."""
        secret_key = sidecar__wire.SigningKey.of(secret_key)
        form = re.match(r'(https?)://(?:\[([0-9a-fA-F:.]+)\]|([^][/?#@:\s]+)):([0-9]+)/?\Z', url or '')
        if not form:  # an error that showed it could show a password
            raise ValueError('the URL must be of the form http://172.17.0.1:8099')
        protocol, address, name, port = form.groups()
        return cls(address or name, port, secret_key, protocol, ca_file)

    def __repr__(self) -> str:
        wire = getattr(self, '_wire', None)  # the report of why one could not be made shows it too
        return 'SidecarHelper(%r)' % (wire and wire.url)

    def shell(self, cmd: str, wait: bool = True, workdir: Optional[str] = None,
              envs: Union[Dict[str, Any], List[str], None] = None, callback_url: Optional[str] = None,
              timeout: Optional[float] = None, command_timeout: Optional[float] = None,
              job_id: Optional[str] = None, limits: Optional[Dict[str, int]] = None) -> Tuple[int, Any]:
        """Runs a command; returns (200, {'ok': True, 'message': …, 'data': {…}}), whatever its exit code.

        `data` has stdout, stderr, exitCode, jobId and more (see PROTOCOL.md). With wait=False stdout and stderr are
        empty: job(), result() and output() tell the rest. `envs` is {'NAME': 'value'} or ['NAME=value']. `timeout`
        limits Func's waiting, `command_timeout` the command, both in seconds. With a `job_id` of your own a
        repetition returns the first run. A busy Sidecar is asked again for as long as `timeout` permits.
        """
        body = {'command': cmd, 'wait': wait, 'workdir': workdir, 'envs': _list_of(envs), 'callbackURL': callback_url,
                'timeout': command_timeout, 'jobId': job_id or uuid.uuid4().hex, 'limits': limits}
        try:
            return self._run({name: value for name, value in body.items() if value is not None}, _deadline(timeout))
        except (SidecarLost, SidecarTimeout) as error:
            error.job_id = body['jobId']  # to ask what came of it
            raise

    def jobs(self, timeout: Optional[float] = None) -> List[Dict[str, Any]]:
        """Summaries of all jobs that wait, run or are remembered, the latest first."""
        return self._ask('GET', '/jobs', _deadline(timeout))['jobs']

    def job(self, job_id: str, timeout: Optional[float] = None) -> Dict[str, Any]:
        """One job: its state, and its output so far."""
        return self._ask('GET', _path(job_id), _deadline(timeout))

    def result(self, job_id: str, timeout: Optional[float] = None) -> Dict[str, Any]:
        """The same once the job has ended."""
        return self._result(job_id, _deadline(timeout))

    def cancel(self, job_id: str, timeout: Optional[float] = None) -> Dict[str, Any]:
        """Asks for a job's end; returns its summary at once, which may still say 'running'."""
        return self._ask('DELETE', _path(job_id), _deadline(timeout))

    def output(self, job_id: str, stream: str = 'stdout', offset: int = 0, follow: bool = True,
               timeout: float = FOLLOW_TIMEOUT) -> Iterator[bytes]:
        """The bytes of one stream from `offset` on; with `follow` as they come, until the job has ended."""
        return self._pieces(job_id, {'stream': stream, 'offset': offset, 'follow': follow}, _deadline(timeout))

    def lines(self, job_id: str, stream: str = 'stdout', offset: int = 0, follow: bool = True,
              timeout: float = FOLLOW_TIMEOUT) -> Iterator[str]:
        """output() as lines of text, without their line feeds. What is not UTF-8 becomes U+FFFD."""
        decoder, rest = codecs.getincrementaldecoder('utf-8')('replace'), ''
        for piece in self.output(job_id, stream, offset, follow, timeout):
            *whole, rest = (rest + decoder.decode(piece)).split('\n')
            yield from whole
        rest += decoder.decode(b'', True)
        if rest:
            yield rest

    def call(self, method: str, path: str, body: Any = None, timeout: Optional[float] = None) -> Tuple[int, Any]:
        """Sends any request, signed, once; returns (status, answer), or raises SidecarRefused."""
        return self._wire.exchange(method.upper(), path, body, _deadline(timeout))

    def _run(self, body: Dict[str, Any], deadline: sidecar__wire.Deadline) -> Tuple[int, Any]:
        while True:
            stamp = time.time()
            try:
                return self._wire.exchange('POST', '/shell', body, deadline, stamp)
            except SidecarBusy as busy:  # it ran nothing
                if not deadline.pause(busy.retry_after):
                    raise
            except SidecarLost as lost:
                return self._recover(body, deadline, stamp, lost)

    def _recover(self, body: Dict[str, Any], deadline: sidecar__wire.Deadline, stamp: float,
                 lost: SidecarLost) -> Tuple[int, Any]:
        """Finds out what became of a request whose connection broke, or sends it again where that is safe."""
        for pause in PAUSES:
            if not deadline.pause(pause):
                break
            try:
                if self._has(body['jobId'], deadline):
                    return self._rejoin(body, deadline)
                return self._wire.exchange('POST', '/shell', body, deadline, stamp)
            except (SidecarLost, SidecarUnreachable, SidecarBusy):
                continue
            except SidecarRefused as refused:
                if refused.status == 409:  # the Sidecar knows that it was accepted, and says what came of it
                    raise
                break
        raise lost

    def _has(self, job_id: str, deadline: sidecar__wire.Deadline) -> bool:
        """Whether the job is known. Raises SidecarRefused if this is no Sidecar that keeps jobs."""
        listed = self._ask_once('GET', '/jobs', deadline).get('jobs')
        if not isinstance(listed, list):
            raise SidecarRefused('this Sidecar keeps no jobs')
        return any(job['jobId'] == job_id for job in listed)

    def _rejoin(self, body: Dict[str, Any], deadline: sidecar__wire.Deadline) -> Tuple[int, Any]:
        """What shell() returns for a job that was accepted before."""
        job_id = body['jobId']
        if body['wait']:
            data = self._result(job_id, deadline)
        else:
            data = self._ask('GET', _path(job_id), deadline)
        if data.get('failure'):
            raise SidecarError(data['failure'])
        if not body['wait']:
            data = {'stdout': '', 'stderr': '', 'jobId': job_id, 'state': data['state']}
        return 200, {'ok': True, 'message': '', 'data': data}

    def _result(self, job_id: str, deadline: sidecar__wire.Deadline) -> Dict[str, Any]:
        for _ in self._pieces(job_id, {'offset': NOWHERE}, deadline):
            pass
        return self._ask('GET', _path(job_id), deadline)

    def _ask(self, method: str, path: str, deadline: sidecar__wire.Deadline) -> Dict[str, Any]:
        """The data that answers a request which may be repeated."""
        pauses = list(PAUSES)
        while True:
            try:
                return self._ask_once(method, path, deadline)
            except SidecarLost:
                if not pauses or not deadline.pause(pauses.pop(0)):
                    raise

    def _ask_once(self, method: str, path: str, deadline: sidecar__wire.Deadline) -> Dict[str, Any]:
        _, answer = self._wire.exchange(method, path, None, deadline)
        if not isinstance(answer, dict) or not isinstance(answer.get('data'), dict):
            raise SidecarRefused('what answers at %s is no Sidecar that keeps jobs' % self._wire.url)
        return answer['data']

    def _pieces(self, job_id: str, question: Dict[str, Any], deadline: sidecar__wire.Deadline) -> Iterator[bytes]:
        """The output as it comes; when a connection breaks, the next one goes on where it broke."""
        path, pauses = _path(job_id) + '/output', list(PAUSES)
        while True:
            try:
                with self._wire.request('GET', path, question, deadline) as (_, pieces):
                    for piece in pieces:
                        question = dict(question, offset=question['offset'] + len(piece))
                        pauses = list(PAUSES)
                        yield piece
                return
            except SidecarLost:
                if not pauses or not deadline.pause(pauses.pop(0)):
                    raise


def output_bytes(data: Dict[str, Any], stream: str = 'stdout') -> bytes:
    """The exact bytes of a stream in the data of a result, also where they are not UTF-8."""
    encoded = data.get(stream + 'Base64')
    return data[stream].encode('utf-8') if encoded is None else base64.b64decode(encoded)


def _deadline(timeout: Optional[float]) -> sidecar__wire.Deadline:
    return sidecar__wire.Deadline(TIMEOUT if timeout is None else timeout)


def _path(job_id: str) -> str:
    if not re.match(r'[A-Za-z0-9_-]{1,64}\Z', job_id):
        raise ValueError("a job id must be 1 to 64 letters, digits, '-' or '_'")
    return '/jobs/' + job_id


def _list_of(envs: Union[Dict[str, Any], List[str], None]) -> Optional[List[str]]:
    """Variables in the one form that every Sidecar takes."""
    if not isinstance(envs, dict):
        return envs
    for name, value in envs.items():
        if not name or '=' in name:
            raise ValueError('%r cannot be the name of a variable' % name)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError('the value of the variable %r must be a text or a number' % name)
    return ['%s=%s' % item for item in envs.items()]
