"""Runs commands on the host of DataFlux Func through its Sidecar.

    import sidecar__helper

    helper = sidecar__helper.SidecarHelper.from_connector(DFF.CONN('sidecar'))
    status, result = helper.shell('echo $GREETING', envs={'GREETING': '你好'})
    result['data']['stdout'], result['data']['exitCode']     # '你好\n', 0

With a key that may run actions only (docs/keys.md), run('deploy', VERSION='v1.2') runs one.

It replaces the stock connector's SidecarHelper, whose shell() raises in every release since July
2024; repair(DFF.CONN('sidecar')) makes that one work. It needs Python 3.8 or later, the standard
library and the script sidecar__wire; nothing of Func itself.

Timeouts, in seconds: `timeout` limits how long Func waits for an answer. After it SidecarTimeout is
raised, and the command goes on. `command_timeout` ends the command.

No command runs twice. Each shell() has a job id. If the connection breaks before the answer, or a
proxy answers instead of the Sidecar, the helper asks the Sidecar for that job. If the Sidecar has
it, the helper waits for its result. Otherwise it sends the request again with the same id, which
the Sidecar runs at most once, and with the timestamp of the first attempt: once the Sidecar may
have forgotten the id, it refuses that timestamp. To a Sidecar that keeps no jobs (the original one)
nothing is sent again.

The key is not stored: no attribute, repr, exception or traceback of these scripts contains it. The
scripts print nothing.
"""
import base64
import codecs
import json
import re
import ssl
import time
import uuid
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

import sidecar__wire

SidecarError = sidecar__wire.SidecarError
SidecarUnreachable = sidecar__wire.SidecarUnreachable
SidecarLost = sidecar__wire.SidecarLost
SidecarTimeout = sidecar__wire.SidecarTimeout
SidecarUnreadable = sidecar__wire.SidecarUnreadable
SidecarRefused = sidecar__wire.SidecarRefused
SidecarBusy = sidecar__wire.SidecarBusy

TIMEOUT = 10.0  # seconds that Func waits for an answer, as in the stock connector
FOLLOW_TIMEOUT = 3600.0  # seconds, for output that is followed
DEFAULT_HOST = '172.17.0.1'  # the host, as containers on Docker's default bridge see it
DEFAULT_PORT = 8099
MAX_EVENT = 1 << 20  # bytes; a piece of output has up to 16 KiB, each up to six in JSON
MAX_STDERR = 500  # characters at the end of stderr in an exception
PAUSES = (0.2, 1.0, 3.0)  # seconds before each retry after a broken connection
NOWHERE = 1 << 62  # an offset beyond any output: following from it only waits for the job's end
MAX_LABELS = 8
MAX_LABEL = 128  # characters of a label's value
TrustSource = Union[str, ssl.SSLContext, None]
FUNC_LABELS = {'script': '_DFF_SCRIPT_ID', 'func': '_DFF_FUNC_ID', 'task': '_DFF_TASK_ID'}


class SidecarFailed(SidecarError):
    """A command that was run with check=True failed. `data` is that of the answer, with exitCode,
    stdout and stderr.
    """

    def __init__(self, message: str, data: Dict[str, Any]) -> None:
        super().__init__(message)
        self.data = data
        self.exit_code: Optional[int] = data.get('exitCode')  # None: see data['signal']


class SidecarHelper:
    """A client for one Sidecar, with a connection for each request. Threads may share it."""

    def __init__(self, host: str, port: Union[int, str], secret_key: Optional[str] = None,
                 protocol: str = 'http', ca_file: TrustSource = None, *,
                 private_key: Optional[str] = None) -> None:
        """`ca_file` is a PEM file of certificates to trust for https; default: this machine's.
        sidecar__wire.trust() loads one for many helpers.

        `private_key`, in place of a secret key, is the text of an Ed25519 private key in PEM, for
        hosts with its PUBLIC_KEYS; it needs the package cryptography. `host` and `port` are signed
        then: they must be a name or an address of its own of that host (SIGNED_HOSTS).
        """
        secret_key = private_key = sidecar__wire.SigningKey.of(secret_key, private_key)
        self._wire = sidecar__wire.Wire(host, port, secret_key, protocol, ca_file)

    @classmethod
    def from_connector(cls, connector: Any, ca_file: TrustSource = None, *,
                       private_key: Optional[str] = None) -> 'SidecarHelper':
        """Makes a helper with address and key of a connector, such as DFF.CONN('sidecar').
        `private_key` is in place of its key.
        """
        private_key = private_key and sidecar__wire.SigningKey.of(None, private_key)
        if not sidecar__wire.is_connector(connector):
            del connector  # it may be the key by mistake
            raise ValueError("pass the object that DFF.CONN('sidecar') returns, of a connector of "
                             "the type DataFlux Func Sidecar")
        setting = sidecar__wire.setting
        return cls(setting(connector, 'host', DEFAULT_HOST),
                   setting(connector, 'port', DEFAULT_PORT),
                   sidecar__wire.SigningKey.of(connector, private_key),
                   setting(connector, 'protocol', 'http'), ca_file)

    @classmethod
    def from_url(cls, url: str, secret_key: Optional[str] = None, ca_file: TrustSource = None, *,
                 private_key: Optional[str] = None) -> 'SidecarHelper':
        """Makes a helper from a URL such as http://172.17.0.1:8099; without a port it is 8099."""
        secret_key = private_key = sidecar__wire.SigningKey.of(secret_key, private_key)
        if url is None:
            raise ValueError('the URL is None: the environment variable does not exist in Func')
        form = re.match(
            r'(https?)://(?:\[([0-9a-fA-F:.]+)\]|([^][/?#@:\s]+))(?::([0-9]+))?/?\Z', url)
        if not form:  # the URL is not shown, as it may have a password in it
            raise ValueError('the URL must be of the form http://172.17.0.1:8099')
        protocol, address, name, port = form.groups()
        return cls(address or name, port or DEFAULT_PORT, secret_key, protocol, ca_file)

    def __repr__(self) -> str:
        wire = getattr(self, '_wire', None)  # missing when __init__ has raised
        return 'SidecarHelper(%r)' % (wire and wire.url)

    @property
    def url(self) -> str:
        return self._wire.url

    def shell(self, cmd: str, wait: bool = True, workdir: Optional[str] = None,
              envs: Union[Dict[str, Any], List[str], None] = None,
              callback_url: Optional[str] = None, timeout: Optional[float] = None,
              command_timeout: Optional[float] = None, job_id: Optional[str] = None,
              limits: Optional[Dict[str, int]] = None, check: bool = False,
              labels: Optional[Dict[str, Any]] = None,
              stdin: Union[str, bytes, None] = None, *, start_within: Optional[float] = None,
              signal: Optional[str] = None, grace: Optional[float] = None,
              secret_envs: Union[Dict[str, Any], List[str], None] = None,
              traceparent: Optional[str] = None) -> Tuple[int, Any]:
        """Runs a command and returns (200, {'ok': True, 'message': …, 'data': {…}}), for every
        exit code; with `check` a command that fails raises SidecarFailed.

        `data` has stdout, stderr, exitCode, jobId and more (see docs/protocol.md). With wait=False
        it is returned once the command is accepted, without output: use job(), result() and
        output(). `envs` is {'NAME': 'value'} or ['NAME=value']. `timeout` limits the waiting and
        `command_timeout` the command, in seconds. A busy Sidecar is retried until `timeout`.

        A repetition with the same `job_id` runs nothing and returns the first run; then
        data['repeated'] is True, or None if the connection broke and it is not known whether this
        call was the first. Another request with that id raises SidecarRefused, status 422.

        `labels` are {'user': 'alice'}: at most 8, for the journal and jobs(); see func_labels().
        With a key that may run actions only, `cmd` is the name of an action.

        `stdin` is what the command reads as its standard input, text or bytes; else it reads
        /dev/null. With it a request has MAX_BODY bytes at most, 1 MiB by default.

        A command that could not be started within `start_within` seconds is never started; then
        SidecarBusy is raised. `signal` ('INT', 'HUP', …) ends the command in place of TERM, and
        KILL follows after `grace` seconds. `secret_envs` are as envs; the Sidecar shows and stores
        their values nowhere, and writes *** in their place in the output: data['masked'] is True.
        `traceparent` (W3C Trace Context) is TRACEPARENT of the command, and in the journal.
        """
        return self._submit(dict(_input('stdin', stdin), **{
            'startWithin': start_within, 'signal': signal, 'grace': grace,
            'secretEnvs': _list_of(secret_envs), 'traceparent': traceparent,
            'command': cmd, 'wait': wait, 'workdir': workdir, 'envs': _list_of(envs),
            'callbackURL': callback_url, 'timeout': command_timeout, 'jobId': job_id,
            'limits': limits, 'labels': _checked_labels(labels)}), timeout, check)

    def script(self, text: Union[str, bytes], args: Optional[List[str]] = None, *,
               interpreter: Union[str, List[str], None] = None,
               stdin: Union[str, bytes, None] = None, wait: bool = True,
               workdir: Optional[str] = None,
               envs: Union[Dict[str, Any], List[str], None] = None,
               callback_url: Optional[str] = None, timeout: Optional[float] = None,
               command_timeout: Optional[float] = None, job_id: Optional[str] = None,
               limits: Optional[Dict[str, int]] = None, check: bool = False,
               labels: Optional[Dict[str, Any]] = None, start_within: Optional[float] = None,
               signal: Optional[str] = None, grace: Optional[float] = None,
               secret_envs: Union[Dict[str, Any], List[str], None] = None,
               traceparent: Optional[str] = None) -> Tuple[int, Any]:
        """Runs a script on the host, and returns what shell() returns.

        `interpreter` is the absolute path of a program of the host, or a list of it and its
        options; else the line '#!' of the script names it, else it is the shell. `args` are up to
        1000 texts, $1 and on in a shell. The script is no argument of a process, so that ps does
        not show it. All other arguments are those of shell().
        """
        body = dict(_input('script', text), **_input('stdin', stdin))
        if interpreter is None:
            interpreter = _interpreter(text)
        elif isinstance(interpreter, str):
            interpreter = [interpreter]
        return self._submit(dict(body, **{
            'startWithin': start_within, 'signal': signal, 'grace': grace,
            'secretEnvs': _list_of(secret_envs), 'traceparent': traceparent,
            'interpreter': interpreter, 'args': _texts(args), 'wait': wait, 'workdir': workdir,
            'envs': _list_of(envs), 'callbackURL': callback_url, 'timeout': command_timeout,
            'jobId': job_id, 'limits': limits, 'labels': _checked_labels(labels)}), timeout, check)

    def run(self, action: str, envs: Optional[Dict[str, Any]] = None, *, wait: bool = True,
            callback_url: Optional[str] = None, timeout: Optional[float] = None,
            command_timeout: Optional[float] = None, job_id: Optional[str] = None,
            limits: Optional[Dict[str, int]] = None, check: bool = False,
            labels: Optional[Dict[str, Any]] = None, stdin: Union[str, bytes, None] = None,
            start_within: Optional[float] = None,
            secret_envs: Union[Dict[str, Any], List[str], None] = None,
            traceparent: Optional[str] = None, **variables: Any) -> Tuple[int, Any]:
        """Runs an action of the configuration of the host, and returns what shell() returns.

        Its variables are the arguments in upper case: run('deploy', VERSION='v1.2'). A variable
        with lower-case letters goes into `envs`. All other arguments are those of shell(). A value
        that does not match raises SidecarRefused, status 400; an action that this key may not run,
        status 403; one that runs already and has ONE_AT_A_TIME = "refuse", status 409.
        """
        return self._submit(dict(_input('stdin', stdin), **{
            'startWithin': start_within, 'secretEnvs': _list_of(secret_envs),
            'traceparent': traceparent, 'action': action, 'wait': wait,
            'envs': _list_of(_merged(envs, variables)),
            'callbackURL': callback_url, 'timeout': command_timeout, 'jobId': job_id,
            'limits': limits, 'labels': _checked_labels(labels)}), timeout, check)

    def actions(self, timeout: Optional[float] = None) -> List[Dict[str, Any]]:
        """Returns the actions that this key may run: name, description, envs and more."""
        return self.permissions(timeout)['actions']

    def permissions(self, timeout: Optional[float] = None) -> Dict[str, Any]:
        """Returns what this key may do: its name as 'key', 'anyCommand', 'expiresAt', 'actions'.
        """
        return self._query('GET', '/actions', _deadline(timeout))

    def jobs(self, timeout: Optional[float] = None) -> List[Dict[str, Any]]:
        """Returns summaries of all jobs that wait, run or are remembered, the latest first."""
        return self._query('GET', '/jobs', _deadline(timeout))['jobs']

    def job(self, job_id: str, timeout: Optional[float] = None,
            max_answer: Optional[int] = None) -> Dict[str, Any]:
        """Returns one job: its state, and its output so far. An answer of more than `max_answer`
        bytes raises SidecarUnreadable.
        """
        return self._query('GET', _path(job_id), _deadline(timeout), max_answer)

    def summary(self, job_id: str, timeout: Optional[float] = None) -> Optional[Dict[str, Any]]:
        """Returns one job of this key without its output, None if the Sidecar has none."""
        return self._find(job_id, _deadline(timeout))

    def result(self, job_id: str, timeout: Optional[float] = None) -> Dict[str, Any]:
        """Waits for the end of a job and returns it as job() does."""
        return self._result(job_id, _deadline(timeout))

    def cancel(self, job_id: str, timeout: Optional[float] = None) -> Dict[str, Any]:
        """Requests the end of a job. Its summary comes at once, and may still say 'running'."""
        return self._query('DELETE', _path(job_id), _deadline(timeout))

    def kill(self, job_id: str, signal: str = 'TERM', group: bool = True,
             timeout: Optional[float] = None) -> Dict[str, Any]:
        """Sends the command of a running job a signal, such as 'HUP': all its processes, or without
        `group` its shell. It requests no end: cancel() does. Returns the summary. It is sent once,
        and after a lost answer it is not known whether it arrived.
        """
        _, answer = self._wire.exchange('POST', _path(job_id) + '/signal',
                                        {'signal': signal, 'group': group}, _deadline(timeout))
        if not _has_data(answer):
            raise SidecarRefused('this Sidecar sends no signals')
        return answer['data']

    def output(self, job_id: str, stream: str = 'stdout', offset: int = 0, follow: bool = True,
               timeout: float = FOLLOW_TIMEOUT, tail: Optional[int] = None) -> Iterator[bytes]:
        """Yields the bytes of one stream from `offset` on, or with `tail` so many bytes before its
        present end; with `follow` while the job runs, until it has ended. It stops before a
        gap, bytes that were not kept (MAX_OUTPUT), and yields nothing after it.
        """
        query = {'stream': stream, 'offset': offset, 'follow': follow}
        if tail is not None:
            query.update({'from': 'end', 'offset': tail})
        return self._pieces(job_id, query, _deadline(timeout))

    def lines(self, job_id: str, stream: str = 'stdout', offset: int = 0, follow: bool = True,
              timeout: float = FOLLOW_TIMEOUT, tail: Optional[int] = None) -> Iterator[str]:
        """Yields output() as lines of text without line feeds. Bytes that are not UTF-8 become
        U+FFFD.
        """
        decoder, rest = codecs.getincrementaldecoder('utf-8')('replace'), ''
        for piece in self.output(job_id, stream, offset, follow, timeout, tail):
            *whole, rest = (rest + decoder.decode(piece)).split('\n')
            yield from whole
        rest += decoder.decode(b'', True)
        if rest:
            yield rest

    def events(self, job_id: str, after: str = '', follow: bool = True,
               timeout: float = FOLLOW_TIMEOUT) -> Iterator[Dict[str, Any]]:
        """Yields what a job writes to both streams, in the order in which the Sidecar read it, and
        then its result; with `follow` while it runs. `after` is the id of an event to go on after.

        event['event'] is 'stdout' or 'stderr', with at, offset, text and bytes; 'missing', with
        stream, offset and bytes, a number, where output was not kept (MAX_OUTPUT); or 'result',
        with what job() tells but for the output. Each has its id.
        """
        deadline, pauses = _deadline(timeout), list(PAUSES)
        while True:
            query = {'after': after, 'follow': follow}
            try:
                with self._wire.request('GET', _path(job_id) + '/events', query,
                                        deadline) as (_, pieces):
                    for event in _events(pieces):
                        after, pauses = event['id'], list(PAUSES)
                        yield event
                        if event['event'] == 'result':
                            return
                if not follow or after.endswith('-end'):
                    return
                raise SidecarLost('the connection was closed before the end of the job')
            except SidecarLost:
                if not pauses or not deadline.pause(pauses.pop(0)):
                    raise

    def call(self, method: str, path: str, body: Any = None,
             timeout: Optional[float] = None) -> Tuple[int, Any]:
        """Sends any signed request once and returns (status, answer). For a status above 299 it
        raises SidecarRefused, or SidecarLost if the answer is not the Sidecar's.
        """
        return self._wire.exchange(method.upper(), path, body, _deadline(timeout))

    def start(self, body: Dict[str, Any], timeout: float, stamp: float,
              lost: Optional[SidecarError] = None) -> Dict[str, Any]:
        """Sends the body of a request with a jobId, for sidecar__fleet, and returns the data of the
        answer. `stamp` is the timestamp of the first attempt. With `lost`, the error of an earlier
        attempt, it looks for the job first, and raises `lost` if nothing can be learned.
        """
        if lost is not None:
            return self._recover(body, _deadline(timeout), stamp, lost)[1]['data']
        return self._run(body, _deadline(timeout), stamp)[1]['data']

    def _submit(self, body: Dict[str, Any], timeout: Optional[float],
                check: bool) -> Tuple[int, Any]:
        """Sends a request to run something, without the keys that are None."""
        if check and not body['wait']:
            raise ValueError('check=True needs wait=True: without waiting there is no exit code')
        body = {name: value for name, value in body.items() if value is not None}
        is_new = not body.get('jobId')
        if is_new:
            body['jobId'] = uuid.uuid4().hex
        try:
            status, answer = self._run(body, _deadline(timeout))
            if is_new and answer['data'].get('repeated', False) is None:
                answer['data']['repeated'] = False  # no other call can have used the id
            if check:
                _check(answer['data'])
            return status, answer
        except (SidecarLost, SidecarTimeout, SidecarUnreadable, SidecarFailed) as error:
            error.job_id = body['jobId']  # for result() and job()
            raise

    def _run(self, body: Dict[str, Any], deadline: sidecar__wire.Deadline,
             first_stamp: Optional[float] = None) -> Tuple[int, Any]:
        start_by = time.monotonic() + (body.get('startWithin') or 0)
        while True:
            stamp = time.time() if first_stamp is None else first_stamp
            try:
                status, answer = self._post(body, deadline, stamp)
                return status, _with_repeated(answer)
            except SidecarBusy as busy:  # nothing was run
                if 'startWithin' in body:  # it counts from the first attempt
                    left = start_by - time.monotonic() - busy.retry_after
                    if left < 0.001:
                        raise
                    body = dict(body, startWithin=left)
                if not deadline.pause(busy.retry_after):
                    raise
            except SidecarLost as lost:
                return self._recover(body, deadline, stamp, lost)

    def _post(self, body: Dict[str, Any], deadline: sidecar__wire.Deadline,
              stamp: float) -> Tuple[int, Any]:
        """Sends a command once. An answer that is not of the protocol counts as a broken
        connection.
        """
        status, answer = self._wire.exchange('POST', '/shell', body, deadline, stamp)
        if not _has_data(answer) or answer.get('ok') is not True:
            raise sidecar__wire.lost_to(self._wire.url, status, answer)
        return status, answer

    def _recover(self, body: Dict[str, Any], deadline: sidecar__wire.Deadline, stamp: float,
                 lost: SidecarError) -> Tuple[int, Any]:
        """Finds the job of a request whose connection broke, or sends the request again where that
        is safe.
        """
        for pause in PAUSES:
            if not deadline.pause(pause):
                break
            try:
                known = self._find(body['jobId'], deadline)
                if known is not None:
                    _check_same(known, body)
                    return self._resume(body, deadline)
                status, answer = self._post(body, deadline, stamp)
                return status, _with_repeated(answer, None)
            except SidecarLost as again:
                if again.status == 404:  # /jobs is unknown there, as to the original Sidecar
                    break
            except (SidecarUnreachable, SidecarBusy):
                continue
            except SidecarRefused as refused:
                if refused.status in (409, 422):  # the message says why there is no result
                    refused.job_id = body['jobId']  # it may be the lost request that has run
                    raise
                break
        raise lost

    def _find(self, job_id: str, deadline: sidecar__wire.Deadline) -> Optional[Dict[str, Any]]:
        """Returns the summary of a job of this key, None if the Sidecar has none. Raises
        SidecarRefused if it keeps no jobs.
        """
        listed = self._query_once('GET', '/jobs', deadline).get('jobs')
        if not isinstance(listed, list):
            raise SidecarRefused('this Sidecar keeps no jobs')
        found = [job for job in listed if isinstance(job, dict) and job.get('jobId') == job_id]
        if any('key' in job for job in found):  # an id is unique among the jobs of one key only
            own = self._query_once('GET', '/actions', deadline).get('key')
            found = [job for job in found if job.get('key') == own]
        return found[0] if found else None

    def _resume(self, body: Dict[str, Any], deadline: sidecar__wire.Deadline) -> Tuple[int, Any]:
        """Returns what shell() returns, for a job that was accepted before."""
        job_id = body['jobId']
        if body['wait']:
            data = self._result(job_id, deadline)
        else:
            data = self._query('GET', _path(job_id), deadline)
        if data.get('failure'):
            raise SidecarError(data['failure'])
        if not body['wait']:
            data = {'stdout': '', 'stderr': '', 'jobId': job_id, 'state': data['state']}
        data['repeated'] = None  # the lost request may have been the first
        return 200, {'ok': True, 'message': '', 'data': data}

    def _result(self, job_id: str, deadline: sidecar__wire.Deadline) -> Dict[str, Any]:
        for _ in self._pieces(job_id, {'offset': NOWHERE}, deadline):
            pass
        return self._query('GET', _path(job_id), deadline)

    def _query(self, method: str, path: str, deadline: sidecar__wire.Deadline,
               max_answer: Optional[int] = None) -> Dict[str, Any]:
        """Sends an idempotent request, with retries, and returns the data of the answer."""
        pauses = list(PAUSES)
        while True:
            try:
                return self._query_once(method, path, deadline, max_answer)
            except SidecarLost:
                if not pauses or not deadline.pause(pauses.pop(0)):
                    raise

    def _query_once(self, method: str, path: str, deadline: sidecar__wire.Deadline,
                    max_answer: Optional[int] = None) -> Dict[str, Any]:
        _, answer = self._wire.exchange(method, path, None, deadline, max_answer=max_answer)
        if not _has_data(answer):
            raise SidecarRefused(
                'the answer from %s is not that of a Sidecar that keeps jobs' % self._wire.url)
        return answer['data']

    def _pieces(self, job_id: str, query: Dict[str, Any],
                deadline: sidecar__wire.Deadline) -> Iterator[bytes]:
        """Yields output while it arrives. After a broken connection it goes on from the offset
        reached. That of an output from the end is not known: then it raises.
        """
        path, pauses = _path(job_id) + '/output', list(PAUSES)
        while True:
            try:
                with self._wire.request('GET', path, query, deadline) as (_, pieces):
                    for piece in pieces:
                        query = dict(query, offset=query['offset'] + len(piece))
                        pauses = list(PAUSES) if 'from' not in query else []
                        yield piece
                return
            except SidecarLost:
                if not pauses or not deadline.pause(pauses.pop(0)):
                    raise


def repair(connector: Any, ca_file: TrustSource = None) -> Any:
    """Repairs the object that DFF.CONN('sidecar') returns, and returns it.

    Its shell() and call() take `timeout`, and shell() takes `envs` as a dict, as Func's manual says
    and with SidecarHelper's promises. They no longer print the key. Other objects of the stock
    connector stay as they are, also in other scripts of the same worker.
    """
    helper = SidecarHelper.from_connector(connector, ca_file)
    default = float(sidecar__wire.setting(connector, 'timeout', TIMEOUT))

    def shell(*arguments: Any, **named: Any) -> Tuple[int, Any]:
        if len(arguments) < 6 and named.get('timeout') is None:
            named['timeout'] = default
        return helper.shell(*arguments, **named)

    def call(method: str, path: Optional[str] = None, query: Any = None, body: Any = None,
             timeout: Optional[float] = None) -> Tuple[int, Any]:
        if path is None:  # 'GET /jobs'
            method, _, path = method.partition(' ')
        if query:
            raise ValueError('a signed request has no query: the Sidecar refuses one')
        body = json.loads(body) if isinstance(body, str) else body
        return helper.call(method, path, body, default if timeout is None else timeout)

    connector.shell, connector.call = shell, call
    return connector


def output_bytes(data: Dict[str, Any], stream: str = 'stdout') -> bytes:
    """Returns the exact bytes of a stream in the data of a result, also if they are not UTF-8. Of a
    stream with more bytes than MAX_OUTPUT, 'stdoutTail' and 'stderrTail' are those of the end; they
    are empty if nothing is missing.
    """
    encoded = data.get(stream + 'Base64')
    if encoded is not None:
        return base64.b64decode(encoded)
    return (data.get(stream, '') if stream.endswith('Tail') else data[stream]).encode('utf-8')


def func_labels(names: Mapping[str, Any], **labels: Any) -> Dict[str, Any]:
    """Returns labels that say which script, function and task of Func a command is for.

    `names` are the variables that Func gives a script: pass globals(). Those that this release of
    Func does not give are left out. More labels are arguments: func_labels(globals(), user='a').
    Func gives no user: pass one that your function knows.
    """
    known = {label: str(names[name])[:MAX_LABEL]
             for label, name in FUNC_LABELS.items() if names.get(name)}
    return dict(known, **labels)


def _checked_labels(labels: Optional[Dict[str, Any]]) -> Optional[Dict[str, str]]:
    """Returns labels with values as text; None if there are none."""
    if labels is not None and not isinstance(labels, dict):
        raise ValueError("labels must be a dict, such as {'user': 'alice'}")
    if len(labels or ()) > MAX_LABELS:
        raise ValueError('there may be at most %d labels' % MAX_LABELS)
    for name, value in (labels or {}).items():
        if not re.match(r'[a-z][a-z0-9_]{0,31}\Z', str(name)):
            raise ValueError('%r cannot be the name of a label: use 1 to 32 lower-case letters, '
                             "digits or '_', with a letter first" % name)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError('the value of the label %r must be a text or a whole number' % name)
        if not 0 < len(str(value)) <= MAX_LABEL:
            raise ValueError('the value of the label %r must have 1 to %d characters'
                             % (name, MAX_LABEL))
    return {name: str(value) for name, value in labels.items()} if labels else None


def _merged(envs: Optional[Dict[str, Any]], variables: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Returns the variables of an action, from both ways to pass them."""
    if envs is not None and not isinstance(envs, dict):
        raise ValueError("envs of run() must be a dict, such as {'VERSION': 'v1.2'}")
    for name in variables:
        if not re.match(r'[A-Z_][A-Z0-9_]*\Z', name):
            raise TypeError(
                'run() has no argument %r: the variables of an action are arguments in upper case '
                '(%s=…), or in envs={%r: …}' % (name, name.upper(), name))
        if name in (envs or {}):
            raise ValueError('the variable %r is given twice: as an argument, and in envs' % name)
    return dict(envs or {}, **variables) or None


def _input(name: str, data: Union[str, bytes, None]) -> Dict[str, Any]:
    """Returns the part of a body that has text or bytes."""
    if data is None or isinstance(data, str):
        return {name: data}
    if isinstance(data, (bytes, bytearray)):
        return {name + 'Base64': base64.b64encode(data).decode('ascii')}
    raise ValueError('%s must be a text or bytes' % name)


def _interpreter(text: Union[str, bytes]) -> Optional[List[str]]:
    """Returns what the first line of a script names: a program, and the rest as one argument, as
    the kernel takes it; None if it names none.
    """
    if not isinstance(text, str):
        text = bytes(text).partition(b'\n')[0].decode('utf-8', 'replace')
    line = text.partition('\n')[0].rstrip(' \t\r')
    form = re.match(r'#![ \t]*(/[^ \t]*)[ \t]*(.*)\Z', line)
    return [word for word in form.groups() if word] if form else None


def _script_length(body: Dict[str, Any]) -> int:
    if 'script' in body:
        return len(body['script'].encode('utf-8'))
    return len(base64.b64decode(body['scriptBase64']))


def _texts(args: Optional[List[str]]) -> Optional[List[str]]:
    """Raises if args are one text, of which each character would become an argument."""
    if isinstance(args, (str, bytes)) or any(not isinstance(arg, str) for arg in args or []):
        raise ValueError("args must be a list of texts, such as ['--since', 'today']")
    return list(args) if args else None


def _events(pieces: Iterator[bytes]) -> Iterator[Dict[str, Any]]:
    """Decodes server-sent events. Comments, and one that is not complete, are left out."""
    held, fields = b'', {}
    for piece in pieces:
        *lines, held = (held + piece).split(b'\n')
        if len(held) > MAX_EVENT:
            raise SidecarUnreadable('an event has more than %d bytes, so it is not from a Sidecar'
                                    % MAX_EVENT)
        for line in lines:
            name, _, value = line.decode('utf-8', 'replace').partition(': ')
            if name in ('event', 'id', 'data'):
                fields[name] = value
            elif 'data' in fields:
                yield _event(fields)
            fields = fields if line else {}


def _event(fields: Dict[str, str]) -> Dict[str, Any]:
    try:
        event = json.loads(fields['data'])
        event['event'], event['id'] = fields['event'], fields['id']
        if event['event'] in ('stdout', 'stderr'):
            encoded = event.pop('base64', None)
            event['bytes'] = (event['text'].encode('utf-8') if encoded is None
                              else base64.b64decode(encoded))
            event['text'] = event['bytes'].decode('utf-8', 'replace')
        return event
    except (KeyError, TypeError, AttributeError, ValueError):
        raise SidecarUnreadable('an event has not the form of a Sidecar\'s') from None


def _with_repeated(answer: Any, known: Optional[bool] = True) -> Any:
    """Returns an answer to shell() whose data say whether its job was there before: `known` if so.
    That is None after a lost request, which may have been the first.
    """
    data = answer.get('data') if isinstance(answer, dict) else None
    if isinstance(data, dict) and 'jobId' in data:
        data['repeated'] = known if data.get('repeated') is True else False
    return answer


def _check_same(known: Dict[str, Any], body: Dict[str, Any]) -> None:
    """Raises if a known job is of another command. A summary has its action, or the start of its
    command.
    """
    given = body.get('action', body.get('command'))  # a command may be the name of an action
    if 'action' in known:
        same = known['action'] == given
    elif 'script' in body or 'scriptBase64' in body:
        same = known.get('command') == 'script (%d bytes)' % _script_length(body)
    else:
        same = 'command' in body and given.startswith(str(known.get('command', '')))
    if not same:
        raise SidecarRefused('the job %s belongs to another command, and nothing was run: '
                             'use a fresh job_id' % body['jobId'], 422)


def _deadline(timeout: Optional[float]) -> sidecar__wire.Deadline:
    return sidecar__wire.Deadline(TIMEOUT if timeout is None else timeout)


def _has_data(answer: Any) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get('data'), dict)


def _check(data: Dict[str, Any]) -> None:
    """Raises SidecarFailed unless the command ended by itself with exit code 0."""
    if 'exitCode' not in data:
        raise SidecarFailed('this Sidecar does not report exit codes, so check=True cannot tell '
                            'whether the command failed', data)
    how = failure_of(data)
    if how:
        said = str(data.get('stderrTail') or data.get('stderr', '')).strip()[-MAX_STDERR:]
        raise SidecarFailed('the command %s: %s' % (how, said or 'nothing on stderr'), data)


def failure_of(data: Dict[str, Any]) -> Optional[str]:
    """Returns how a command failed; None if it ended by itself with exit code 0."""
    ended, exit_code = data.get('ended'), data.get('exitCode')
    if ended != 'exited':  # timed out, cancelled, stopped
        return 'did not end by itself (%s)' % ended
    if exit_code is None:
        return 'was ended by the signal %s' % data.get('signal')
    return 'ended with exit code %s' % exit_code if exit_code != 0 else None


def _path(job_id: str) -> str:
    if not re.match(r'([a-z][a-z0-9_-]{0,31}:)?[A-Za-z0-9_-]{1,64}\Z', job_id):
        raise ValueError("a job id must be 1 to 64 letters, digits, '-' or '_', after the name of "
                         "a key and ':' for a job of another key")
    return '/jobs/' + job_id


def _list_of(envs: Union[Dict[str, Any], List[str], None]) -> Optional[List[str]]:
    """Returns the variables in the form that every Sidecar accepts."""
    if not isinstance(envs, dict):
        return envs
    for name, value in envs.items():
        if not name or '=' in name:
            raise ValueError('%r cannot be the name of a variable' % name)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError('the value of the variable %r must be a text or a number' % name)
    return ['%s=%s' % item for item in envs.items()]
