"""Runs one command or action on many Sidecars, within the 35 seconds of a function of Func.

    import sidecar__fleet

    fleet = sidecar__fleet.SidecarFleet.from_connectors(
        {name: DFF.CONN(name) for name in ('web1', 'web2', 'web3')})
    done = fleet.run('deploy', VERSION='v1.2', at_once=10, max_errors=3)
    print(done)                                            # a table for the task log
    done.ok, done.failed, done.unreachable                 # lists of results
    again = done.retry().run('deploy', VERSION='v1.2')     # on the others

It needs Python 3.8 or later, the standard library, sidecar__wire and sidecar__helper.

All hosts are started first, without waiting. Then each is asked for its result until all have one,
or the time is over. A command that is still running then goes on.

No command runs twice. Each host has a job id of its own. retry() uses it again for hosts whose
answer was lost, and for those that still run: it finds their jobs. See sidecar__helper.

At most MAX_CONNECTIONS connections are open at once, on as many threads. A result has the first
MAX_KEPT characters of stdout, and the last of stderr. No attribute, repr or table contains a key,
and nothing is printed.
"""
import collections
import contextlib
import heapq
import queue
import threading
import time
import uuid
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

import sidecar__helper
import sidecar__wire

TIMEOUT = 30.0  # seconds for all hosts; a function of Func has 35
START_TIMEOUT = 10.0  # seconds for the start on one host, and for each question about its job
MIN_START = 1.0  # seconds that must be left for another start, or a tenth of the timeout
GRACE = 0.3  # seconds after the end of the time, for answers that have just arrived
MAX_CONNECTIONS = 64
MAX_KEPT = 16 << 10  # characters of stdout, and as many of stderr, of each host
MAX_JOB = 256 << 10  # bytes of a job with its output; more of it is read in pieces
FIRST_PAUSE, MAX_PAUSE = 0.1, 0.5  # seconds before questions about a job: the first and the later
MAX_QUESTIONS = 250  # per second, about the jobs of all hosts; it lengthens MAX_PAUSE
MAX_ROWS = 100  # of a table
MAX_MESSAGE = 80  # characters of a message in a table

OK = 'ok'  # it ended with exit code 0
FAILED = 'failed'  # it ended in another way
REFUSED = 'refused'  # the Sidecar refused it: nothing was run
UNREACHABLE = 'unreachable'  # no connection: nothing was run
UNKNOWN = 'unknown'  # it may have run: its answer or its result was lost
RUNNING = 'running'  # it had not ended when the time was over, and goes on
NOT_TRIED = 'not tried'  # nothing was sent: out of time, or after max_errors
STATES = (OK, FAILED, REFUSED, UNREACHABLE, UNKNOWN, RUNNING, NOT_TRIED)


class HostResult:
    """What happened on one host. `helper` is its SidecarHelper, for the job `job_id`."""

    def __init__(self, name: str, helper: sidecar__helper.SidecarHelper) -> None:
        self.name, self.helper = name, helper
        self.state = NOT_TRIED
        self.message = ''  # why it is not ok
        self.job_id: Optional[str] = None
        self.status: Optional[int] = None  # of HTTP, of a refusal
        self.exit_code: Optional[int] = None
        self.stdout, self.stderr = '', ''
        self.truncated = False  # helper.output(job_id) has what is missing here

    def __repr__(self) -> str:
        return 'HostResult(%r, %r, %r)' % (self.name, self.state, self.message)

    def as_dict(self) -> Dict[str, Any]:
        """Returns what a function of Func can return."""
        return {'state': self.state, 'message': self.message, 'jobId': self.job_id,
                'exitCode': self.exit_code, 'stdout': self.stdout, 'stderr': self.stderr}


class FleetResult:
    """The results of all hosts, in their order: iterate over it, take one with result['web1'], or
    those of one state from ok, failed, refused, unreachable, unknown, running and not_tried.
    """

    def __init__(self, tasks: List['_Task']) -> None:
        self._tasks = tasks
        self.ok, self.failed, self.refused = self._of(OK), self._of(FAILED), self._of(REFUSED)
        self.unreachable, self.unknown = self._of(UNREACHABLE), self._of(UNKNOWN)
        self.running, self.not_tried = self._of(RUNNING), self._of(NOT_TRIED)

    def _of(self, state: str) -> List[HostResult]:
        return [result for result in self if result.state == state]

    def __iter__(self) -> Iterator[HostResult]:
        return (task.result for task in self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, name: str) -> HostResult:
        return {result.name: result for result in self}[name]

    def __repr__(self) -> str:
        return 'FleetResult(%s)' % self._counts()

    def __str__(self) -> str:
        return self.table()

    @property
    def all_ok(self) -> bool:
        return all(result.state == OK for result in self)

    def check(self) -> 'FleetResult':
        """Raises a SidecarError with the counts and the first host that is not ok."""
        for result in self:
            if result.state != OK:
                raise sidecar__helper.SidecarError('%s. %s: %s: %s' % (
                    self._counts(), result.name, result.state, result.message))
        return self

    def as_dict(self) -> Dict[str, Dict[str, Any]]:
        """Returns what a function of Func can return: a dict for each host, by its name."""
        return {result.name: result.as_dict() for result in self}

    def table(self) -> str:
        """Returns the counts, and a line for each of the first MAX_ROWS hosts that are not ok. It
        has no output of commands.
        """
        bad = sorted((result for result in self if result.state != OK),
                     key=lambda result: STATES.index(result.state))
        width = max([len(result.name) for result in bad[:MAX_ROWS]] or [0])
        lines = [self._counts()]
        for result in bad[:MAX_ROWS]:
            message = result.message
            if len(message) > MAX_MESSAGE:
                message = message[:MAX_MESSAGE - 1] + '…'
            job = ' (job %s)' % result.job_id if result.job_id else ''
            line = '%-*s  %-11s  %s%s' % (width, result.name, result.state, message, job)
            lines.append(str(sidecar__helper.SidecarError(line)))  # escapes what is not printable
        if len(bad) > MAX_ROWS:
            lines.append('and %d more' % (len(bad) - MAX_ROWS))
        return '\n'.join(lines)

    def retry(self, failed: bool = True) -> 'SidecarFleet':
        """Returns a fleet of the hosts that are worth another try: all but those that are ok, and
        those that refused it for another reason than being busy (503, 409). `failed` says whether
        to run it again where it ran and failed.
        """
        states = {UNREACHABLE, UNKNOWN, RUNNING, NOT_TRIED} | ({FAILED} if failed else set())
        tasks = [task for task in self._tasks if task.result.state in states
                 or (task.result.state == REFUSED and task.result.status in (409, 503))]
        return SidecarFleet({task.result.name: task.result.helper for task in tasks},
                            {task.result.name: task for task in tasks if task.may_have_run})

    def _counts(self) -> str:
        counts = collections.Counter(result.state for result in self)
        return ', '.join('%d %s' % (counts[state], state)
                         for state in STATES if counts[state] or state == OK)


class SidecarFleet:
    """Many Sidecars, each with a name."""

    def __init__(self, helpers: Mapping[str, sidecar__helper.SidecarHelper],
                 _earlier: Optional[Mapping[str, '_Task']] = None) -> None:
        self._helpers = dict(helpers)
        self._earlier = dict(_earlier or {})  # by name: what must not run twice

    @classmethod
    def from_connectors(cls, connectors: Any, ca_file: Any = None) -> 'SidecarFleet':
        """Makes a fleet of {'web1': DFF.CONN('web1'), …}, or of a list, whose names are the URLs.
        `ca_file` is a file for all hosts, or {'web1': file, …}; see SidecarHelper.
        """
        pairs = _pairs(connectors)
        if not all(sidecar__wire.is_connector(connector) for _, connector in pairs):
            del connectors, pairs  # they may be keys by mistake
            raise ValueError("pass {'web1': DFF.CONN('web1'), …}, with connectors of the type "
                             'DataFlux Func Sidecar')
        trust = _Trust(ca_file)

        def make(name: Any, connector: Any) -> sidecar__helper.SidecarHelper:
            protocol = sidecar__wire.setting(connector, 'protocol', 'http')
            return sidecar__helper.SidecarHelper.from_connector(
                connector, trust.of(name, protocol == 'https'))
        return cls(_named(pairs, make))

    @classmethod
    def from_urls(cls, urls: Any, secret_key: Any, ca_file: Any = None) -> 'SidecarFleet':
        """Makes a fleet of {'web1': 'http://192.0.2.1:8099', …}, or of a list of URLs, which are
        the names too. `secret_key` is one for all, or {'web1': key, …}; `ca_file` likewise. One
        for all should be a private key, as the text of its PEM file: see SidecarHelper.
        """
        if isinstance(secret_key, Mapping):
            secret_key = {name: sidecar__wire.SigningKey.of(key)
                          for name, key in secret_key.items()}
        else:
            secret_key = sidecar__wire.SigningKey.of(secret_key)
        if isinstance(urls, str) or urls is None:
            del urls  # it may be the key by mistake
            raise ValueError("pass {'web1': 'http://192.0.2.1:8099', …}, or a list of URLs")
        trust = _Trust(ca_file)

        def make(name: Any, url: Any) -> sidecar__helper.SidecarHelper:
            https = isinstance(url, str) and url.startswith('https:')
            return sidecar__helper.SidecarHelper.from_url(
                url, _of_host(secret_key, name), trust.of(name, https))
        return cls(_named(_pairs(urls), make))

    def __repr__(self) -> str:
        return 'SidecarFleet(%d Sidecars)' % len(self)

    def __len__(self) -> int:
        return len(self._helpers)

    @property
    def names(self) -> List[str]:
        return list(self._helpers)

    def only(self, names: Iterable[str]) -> 'SidecarFleet':
        """Returns a fleet of the hosts with these names."""
        return SidecarFleet({name: self._helpers[name] for name in names}, self._earlier)

    def shell(self, cmd: str, workdir: Optional[str] = None,
              envs: Union[Dict[str, Any], List[str], None] = None, *,
              timeout: float = TIMEOUT, at_once: Optional[int] = None,
              max_errors: Optional[int] = None, **options: Any) -> FleetResult:
        """Runs a command on all hosts. It raises nothing for what happens on one of them.

        `timeout` limits the whole call, in seconds. At most `at_once` hosts have the command at the
        same time; by default all. One whose answer was lost does not count. After `max_errors`
        hosts that are not ok no other begins.
        `options` are those of SidecarHelper.shell(): callback_url, command_timeout, job_id, limits,
        labels, stdin.
        """
        body = _Body().shell(cmd, False, workdir, envs, **options)
        return self._finish(body, timeout, at_once, max_errors)

    def script(self, text: Union[str, bytes], args: Optional[List[str]] = None, *,
               timeout: float = TIMEOUT, at_once: Optional[int] = None,
               max_errors: Optional[int] = None, **options: Any) -> FleetResult:
        """Runs a script on all hosts, as shell() runs a command. `options` are those of
        SidecarHelper.script(): interpreter, workdir, envs, and those of shell().
        """
        body = _Body().script(text, args, wait=False, **options)
        return self._finish(body, timeout, at_once, max_errors)

    def run(self, action: str, envs: Optional[Dict[str, Any]] = None, *,
            timeout: float = TIMEOUT, at_once: Optional[int] = None,
            max_errors: Optional[int] = None, **options: Any) -> FleetResult:
        """Runs an action on all hosts, as shell() runs a command. `options` are its variables in
        upper case, and those of SidecarHelper.run(), which are those of shell().
        """
        body = _Body().run(action, envs, wait=False, **options)
        return self._finish(body, timeout, at_once, max_errors)

    def _finish(self, body: Dict[str, Any], timeout: float, at_once: Optional[int],
                max_errors: Optional[int]) -> FleetResult:
        tasks = [_Task(name, helper, body, self._earlier.get(name))
                 for name, helper in self._helpers.items()]
        at_once = _at_least_one('at_once', at_once, len(tasks))
        max_errors = _at_least_one('max_errors', max_errors, len(tasks))
        _Schedule(tasks, timeout, at_once, max_errors).finish()
        return FleetResult(tasks)


class _Body(sidecar__helper.SidecarHelper):
    """Its shell() and run() check their arguments, and return the body of the request."""

    def __init__(self) -> None:
        pass

    def _submit(self, body: Dict[str, Any], timeout: Optional[float], check: bool) -> Any:
        if timeout is not None or check:
            raise TypeError('a fleet has one timeout for all hosts, and its result has check()')
        return {name: value for name, value in body.items() if value is not None}


class _Task:
    """One host's part of a run. Its steps are carried out one after the other, on any thread."""

    def __init__(self, name: str, helper: sidecar__helper.SidecarHelper, body: Dict[str, Any],
                 earlier: Optional['_Task']) -> None:
        self.result = HostResult(name, helper)
        self.body, self.stamp = body, 0.0
        self.accepted, self.is_large, self.pause = False, False, FIRST_PAUSE
        self.lost: Optional[sidecar__helper.SidecarError] = None
        if earlier and dict(earlier.body, jobId=None) == dict(body, jobId=None):
            self.body, self.stamp, self.accepted = earlier.body, earlier.stamp, earlier.accepted
            self.lost = earlier.lost or sidecar__helper.SidecarTimeout(earlier.result.message)
        elif 'jobId' not in body:
            self.body = dict(body, jobId=uuid.uuid4().hex)

    @property
    def may_have_run(self) -> bool:
        state = self.result.state
        return state in (UNKNOWN, RUNNING) or (state == NOT_TRIED and self.lost is not None)

    def begin(self) -> None:
        """Sets what is true until a step has ended, also if none does in time."""
        self.stamp = self.stamp or time.time()
        self.result.state, self.result.job_id = UNKNOWN, self.body['jobId']
        self.result.message = 'the answer had not come when the time was over'

    def step(self, deadline: sidecar__wire.Deadline) -> Tuple[Dict[str, Any], bool]:
        """Sends the next request; returns fields of the result, and whether more steps follow."""
        try:
            return (self._ask if self.accepted else self._start)(
                min(deadline.left(), START_TIMEOUT))
        except sidecar__helper.SidecarError as error:
            return self._fields_of(error)
        except Exception as error:  # an answer in a form that no Sidecar sends
            return {'state': UNKNOWN, 'message': 'unexpected ' + type(error).__name__}, False

    def _start(self, timeout: float) -> Tuple[Dict[str, Any], bool]:
        data = self.result.helper.start(self.body, timeout, self.stamp, self.lost)
        if 'jobId' not in data:
            return {'state': UNKNOWN, 'message': 'started, and this Sidecar keeps no jobs'}, False
        self.accepted = True
        return {'state': RUNNING, 'message': 'started, and not seen to end'}, True

    def _ask(self, timeout: float) -> Tuple[Dict[str, Any], bool]:
        self.pause *= 1.6
        job = self._job(timeout)
        if job['state'] != 'ended':
            return {'state': RUNNING, 'message': 'still ' + str(job['state'])}, True
        if job.get('failure'):
            return {'state': REFUSED, 'message': 'not started: %s' % job['failure']}, False
        stdout, stderr = job['stdout'], job.get('stderrTail') or job['stderr']
        fields = {'state': OK, 'message': '', 'status': None, 'exit_code': job.get('exitCode'),
                  'stdout': stdout[:MAX_KEPT], 'stderr': stderr[-MAX_KEPT:],
                  'truncated': bool(job.get('stdoutTruncated') or job.get('stderrTruncated')
                                    or len(stdout) > MAX_KEPT or len(stderr) > MAX_KEPT)}
        if job['ended'] in ('interrupted', 'result lost'):
            fields.update(state=UNKNOWN, message=job['ended'])
        elif sidecar__helper.failure_of(job):
            fields.update(state=FAILED, message=sidecar__helper.failure_of(job))
        return fields, False

    def _job(self, timeout: float) -> Dict[str, Any]:
        """Returns the job; of large outputs only the part that a result has."""
        helper, job_id = self.result.helper, self.body['jobId']
        if not self.is_large:
            try:
                return helper.job(job_id, timeout, MAX_JOB)
            except sidecar__helper.SidecarUnreadable:
                self.is_large = True
        job = helper.summary(job_id, timeout)
        if job is None:
            raise sidecar__helper.SidecarRefused('the Sidecar no longer has the job', 404)
        if job['state'] == 'ended':
            job['stdout'] = self._part_of('stdout', timeout, None)
            job['stderr'] = self._part_of('stderr', timeout, MAX_KEPT)
            job['stdoutTruncated'] = True
        return job

    def _part_of(self, stream: str, timeout: float, tail: Optional[int]) -> str:
        held = b''
        pieces = self.result.helper.output(
            self.body['jobId'], stream, follow=False, timeout=timeout, tail=tail)
        # An earlier release refuses to begin at the end.
        with contextlib.closing(pieces), contextlib.suppress(sidecar__helper.SidecarRefused):
            for piece in pieces:
                held += piece
                if len(held) > MAX_KEPT:
                    break
        return held[:MAX_KEPT].decode('utf-8', 'replace')

    def _fields_of(self, error: sidecar__helper.SidecarError) -> Tuple[Dict[str, Any], bool]:
        # Without the job id that str() may add.
        fields = {'state': UNKNOWN, 'message': error.args[0], 'status': error.status}
        refused = isinstance(error, sidecar__helper.SidecarRefused)
        if self.accepted:  # it was started: only its result is not known yet
            return fields, not refused or isinstance(error, sidecar__helper.SidecarBusy)
        if refused and error.job_id:  # an attempt before that, whose answer was lost, may have run
            self.lost = error
        elif refused or type(error) is sidecar__helper.SidecarError:  # the latter: never started
            fields.update(state=REFUSED, job_id=None)
        elif isinstance(error, sidecar__helper.SidecarUnreachable):
            fields.update(state=UNREACHABLE, job_id=None)
        else:
            self.lost = error
        return fields, False


class _Schedule:
    """Decides which host is next. Its state belongs to the calling thread; the other threads carry
    out single steps and hold no state.
    """

    def __init__(self, tasks: List[_Task], timeout: float, at_once: int, max_errors: int) -> None:
        self._deadline = sidecar__wire.Deadline(timeout)
        self._end = sidecar__wire.Deadline(timeout + GRACE)
        self._min_start = min(MIN_START, timeout / 10)
        self._max_pause = max(MAX_PAUSE, len(tasks) / MAX_QUESTIONS)
        self._at_once, self._max_errors = at_once, max_errors
        self._fresh = collections.deque(tasks)
        self._started: List[Tuple[float, int, _Task]] = []  # a heap, by the time of the next step
        self._open = self._errors = self._steps = self._in_hand = 0

    def finish(self) -> None:
        """Returns when all hosts have ended, or the time is over."""
        todo, done = queue.SimpleQueue(), queue.SimpleQueue()
        count = min(MAX_CONNECTIONS, self._at_once, len(self._fresh))
        threads = [threading.Thread(target=_carry_out, args=(todo, done, self._deadline),
                                    name='sidecar-fleet', daemon=True) for _ in range(count)]
        try:
            for thread in threads:
                thread.start()
            while self._hand_out(todo, count):
                with contextlib.suppress(queue.Empty):
                    self._record(*done.get(timeout=self._wait(count)))
        finally:  # also if Func ends the function
            for _ in threads:
                todo.put(None)
        for thread in threads:
            thread.join(self._end.left())
        for task in self._fresh:
            task.result.message = ('not begun after %d errors' % self._errors
                                   if self._errors >= self._max_errors else 'out of time')

    def _hand_out(self, todo: Any, count: int) -> bool:
        """Gives work to idle threads; returns whether there is anything to wait for."""
        while self._in_hand < count:
            if self._may_start():
                task = self._fresh.popleft()
                task.begin()
                self._open += 1
            elif self._may_wait() and self._started[0][0] <= time.monotonic():
                task = heapq.heappop(self._started)[2]
            else:
                break
            todo.put(task)
            self._in_hand += 1
        return (self._in_hand > 0 and not self._end.passed()) or self._may_wait()

    def _may_start(self) -> bool:
        return (bool(self._fresh) and self._open < self._at_once
                and self._errors < self._max_errors and self._deadline.left() > self._min_start)

    def _may_wait(self) -> bool:
        return bool(self._started) and not self._deadline.passed()

    def _wait(self, count: int) -> float:
        """Returns for how long nothing but the end of a step can change what is next."""
        wait = self._end.left()
        if self._may_wait() and self._in_hand < count:
            wait = min(wait, self._started[0][0] - time.monotonic())
        return max(wait, 0.0)

    def _record(self, task: _Task, fields: Dict[str, Any], more: bool) -> None:
        if not (more and fields['state'] == UNKNOWN and self._deadline.passed()):
            vars(task.result).update(fields)  # a question that was cut off by the end says nothing
        self._in_hand -= 1
        self._steps += 1  # orders what is due at the same time
        if more:
            due = time.monotonic() + min(task.pause, self._max_pause)
            heapq.heappush(self._started, (due, self._steps, task))
        else:
            self._open -= 1
            self._errors += task.result.state != OK


def _carry_out(todo: Any, done: Any, deadline: sidecar__wire.Deadline) -> None:
    for task in iter(todo.get, None):
        fields, more = task.step(deadline)
        done.put((task, fields, more))


class _Trust:
    """The certificates to trust for each host. Each file is loaded once."""

    def __init__(self, ca_file: Any) -> None:
        self._ca_file, self._loaded = ca_file, {}

    def of(self, name: Any, https: bool) -> sidecar__helper.TrustSource:
        ca_file = _of_host(self._ca_file, name)
        if not https:
            return None
        if ca_file not in self._loaded:
            self._loaded[ca_file] = sidecar__wire.trust(ca_file)
        return self._loaded[ca_file]


def _of_host(value: Any, name: Any) -> Any:
    return value.get(name) if isinstance(value, Mapping) else value


def _pairs(hosts: Any) -> List[Tuple[Any, Any]]:
    """Returns pairs of a name and what has it. Without names these are the numbers from 1."""
    return list(hosts.items()) if isinstance(hosts, Mapping) else list(enumerate(hosts, 1))


def _named(pairs: List[Tuple[Any, Any]], make: Any) -> Dict[str, sidecar__helper.SidecarHelper]:
    helpers: Dict[str, sidecar__helper.SidecarHelper] = {}
    for name, source in pairs:
        label = 'host %d' % name if isinstance(name, int) else name
        try:
            helper = make(name, source)
        except ValueError as error:
            raise ValueError('%s: %s' % (label, error)) from None
        name = helper.url if isinstance(name, int) else name
        if name in helpers:
            raise ValueError('%s: there is another host with this URL; give them names' % label)
        helpers[name] = helper
    return helpers


def _at_least_one(name: str, value: Optional[int], default: int) -> int:
    if value is None:
        return max(default, 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError('%s must be a whole number from 1' % name)
    return value
