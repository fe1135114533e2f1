"""One signed request to the Sidecar and its answer, each on a connection of its own (see PROTOCOL.md).

sidecar__helper and sidecar__callback are built on this. It knows of requests, answers and time, not of what
they mean. It must never hold, print or raise the secret key: a key becomes a signing state at once, from
which nobody can read it back.
"""
import contextlib
import hashlib
import hmac
import http.client
import json
import re
import socket
import ssl
import time
import uuid
from typing import Any, Dict, Iterator, Optional, Tuple, Union

CONNECT_TIMEOUT = 5.0  # seconds
PIECE = 64 * 1024  # bytes read at once
LONGEST = 2000000.0  # seconds; a system call cannot wait for much longer


class SidecarError(Exception):
    """Why there is no answer, as a sentence."""

    def __init__(self, message: str, status: Optional[int] = None, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.status = status  # of the HTTP answer, if there was one
        self.retry_after = retry_after  # seconds
        self.job_id: Optional[str] = None

    def __str__(self) -> str:
        return super().__str__() + (' (job %s)' % self.job_id if self.job_id else '')


class SidecarUnreachable(SidecarError):
    """There is no connection, so nothing was sent."""


class SidecarLost(SidecarError):
    """The connection broke before the answer: whether the request was carried out is not known."""


class SidecarTimeout(SidecarError):
    """No answer came in time. A command that was sent goes on."""


class SidecarRefused(SidecarError):
    """The Sidecar answered with an error; `status` is its HTTP status."""


class SidecarBusy(SidecarRefused):
    """The Sidecar cannot take the request now (503); it says to come back after `retry_after` seconds."""


class SigningKey:
    """Signs with a secret key that it can no longer tell."""

    def __init__(self, secret_key: Any) -> None:
        # It raises nothing: a report that shows the variables of a traceback would show its argument.
        raw = b''
        with contextlib.suppress(AttributeError, UnicodeEncodeError):
            raw = secret_key.encode('utf-8')
        self._mac = hmac.new(raw, digestmod=hashlib.sha1) if raw else None

    @classmethod
    def of(cls, secret_key: Union[str, 'SigningKey']) -> 'SigningKey':
        return secret_key if isinstance(secret_key, cls) else cls(secret_key)

    @property
    def usable(self) -> bool:
        return self._mac is not None

    def sign(self, method: str, path: str, nonce: str, timestamp: str, body: bytes) -> str:
        """The signature of a request. It does not cover the query."""
        mac = self._mac.copy()
        mac.update('\n'.join((method, path.partition('?')[0], nonce, timestamp, '')).encode('utf-8') + body)
        return mac.hexdigest().upper()


class Deadline:
    """The moment until which an answer is waited for."""

    def __init__(self, seconds: float) -> None:
        if not seconds <= LONGEST:  # nor is NaN
            raise ValueError('the timeout must be at most %d seconds' % LONGEST)
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def passed(self) -> bool:
        return self.left() < 0.01  # a socket's own clock may be that much ahead

    def bound(self, sock: socket.socket) -> None:
        sock.settimeout(max(self.left(), 0.001))  # 0 would mean not to wait at all

    def pause(self, seconds: float) -> bool:
        """Sleeps if there is time left afterwards, and says whether it did."""
        if seconds >= self.left():
            return False
        time.sleep(seconds)
        return True


class Wire:
    """The way to one Sidecar. It keeps no connection, and threads may share it."""

    def __init__(self, host: str, port: Union[int, str], key: SigningKey, protocol: str,
                 ca_file: Optional[str]) -> None:
        # No error shows an argument: in the wrong order one of them is the key.
        port = int(port) if str(port).isdecimal() else 0
        if not key.usable:
            raise ValueError('the secret key is empty or no text: give SECRET_KEY as /etc/dataflux-func-sidecar has it')
        if not 0 < port < 65536:
            raise ValueError('the port must be a number from 1 to 65535')
        if not re.match(r'[^\0-\x20\x7f]+\Z', host):
            raise ValueError('the host must be a name or an address without blanks')
        if protocol not in ('http', 'https'):
            raise ValueError("the protocol must be 'http' or 'https'")
        self._host, self._port, self._key = host, port, key
        self._tls = _trust(ca_file) if protocol == 'https' else None
        self.url = '%s://%s:%d' % (protocol, '[%s]' % host if ':' in host else host, port)

    def exchange(self, method: str, path: str, body: Any, deadline: Deadline,
                 stamp: Optional[float] = None) -> Tuple[int, Any]:
        """Sends a request once. Returns status and answer; raises for a status above 299.

        `stamp` is the signed time, now unless it is given.
        """
        with self.request(method, path, body, deadline, stamp) as (response, pieces):
            return response.status, _decode(b''.join(pieces))

    @contextlib.contextmanager
    def request(self, method: str, path: str, body: Any, deadline: Deadline,
                stamp: Optional[float] = None) -> Iterator[Tuple[http.client.HTTPResponse, Iterator[bytes]]]:
        """Gives the head of the answer and the pieces of its body, as they arrive."""
        if not re.match(r'/[!-~]*\Z', path):
            raise ValueError('the path must begin with / and be printable ASCII without blanks')
        raw = b'' if body is None else json.dumps(body).encode('ascii')
        headers = self._signed(method, path, raw, time.time() if stamp is None else stamp)
        connection = self._connect(deadline)
        try:
            with contextlib.suppress(ConnectionError):  # a refusal may come before all of the body has gone
                deadline.bound(connection.sock)
                connection.request(method, path, raw, headers)
            deadline.bound(connection.sock)
            sock = connection.sock  # the connection forgets it where the answer is the last one
            with connection.getresponse() as response:
                pieces = _pieces(response, sock, deadline)
                if response.status > 299:
                    raise _refusal(response, b''.join(pieces))
                yield response, pieces
        except (OSError, http.client.HTTPException) as fault:
            raise self._explain(fault, deadline) from None
        finally:
            connection.close()

    def _signed(self, method: str, path: str, body: bytes, stamp: float) -> Dict[str, str]:
        nonce, timestamp = uuid.uuid4().hex, str(int(stamp))
        return {'Content-Type': 'application/json', 'X-Auth-Nonce': nonce, 'X-Auth-Timestamp': timestamp,
                'X-Auth-Signature': self._key.sign(method, path, nonce, timestamp, body)}

    def _connect(self, deadline: Deadline) -> http.client.HTTPConnection:
        wait = max(min(deadline.left(), CONNECT_TIMEOUT), 0.001)
        if self._tls:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=wait, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=wait)
        try:
            connection.connect()
            _keep_alive(connection.sock)
        except (OSError, ValueError) as fault:  # the latter for what can be no name of a host
            connection.close()
            raise SidecarUnreachable(self._advise(fault)) from None
        return connection

    def _explain(self, fault: Exception, deadline: Deadline) -> SidecarError:
        if deadline.passed():
            return SidecarTimeout('%s did not answer in time; a command that was sent goes on' % self.url)
        return SidecarLost('the connection to %s broke before the answer was whole (%s): whether the request was '
                           'carried out is not known' % (self.url, str(fault) or type(fault).__name__))

    def _advise(self, fault: Exception) -> str:
        """What to look at on the host when there is no connection."""
        text = 'cannot connect to %s: %s. ' % (self.url, fault)
        if not isinstance(fault, OSError):
            return text + 'Is this the name or the address of a host?'
        if isinstance(fault, ssl.SSLError):
            return text + 'Does the Sidecar speak TLS at this address, and is its certificate trusted here (ca_file)?'
        return text + (
            'Look at the host: does the service run (systemctl status dataflux-func-sidecar.socket '
            'dataflux-func-sidecar.service)? Has BIND in /etc/dataflux-func-sidecar an address that can be reached '
            'from here? In a container 127.0.0.1 is the container itself; the host is the address of docker0 there '
            '(ip address show docker0), usually 172.17.0.1. Does a firewall drop port %d?' % self._port)


def _trust(ca_file: Optional[str]) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as fault:  # it says nothing of the file, and what was given may be the key
        text = 'the ca_file cannot be used (%s): give the path of certificates in the PEM form' % fault
        raise ValueError(text) from None


def _keep_alive(sock: socket.socket) -> None:
    """Lets the kernel notice within a minute that the other host has vanished."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (('TCP_KEEPIDLE', 30), ('TCP_KEEPINTVL', 10), ('TCP_KEEPCNT', 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _pieces(response: http.client.HTTPResponse, sock: socket.socket, deadline: Deadline) -> Iterator[bytes]:
    """The body as it arrives. One that was cut short raises at its end."""
    left = None if response.chunked else response.length  # None: the body ends by itself
    while left is None or left > 0:
        deadline.bound(sock)
        piece = response.read1(PIECE if left is None else min(PIECE, left))
        if not piece and left:
            raise http.client.IncompleteRead(b'', left)
        if not piece:
            return
        left = None if left is None else left - len(piece)
        yield piece


def _decode(raw: bytes) -> Any:
    """JSON as what it says, everything else as text."""
    try:
        return json.loads(raw.decode('utf-8'))
    except ValueError:
        return raw.decode('utf-8', 'replace')


def _refusal(response: http.client.HTTPResponse, raw: bytes) -> SidecarRefused:
    answer = _decode(raw)
    why = answer.get('message') if isinstance(answer, dict) else str(answer)[:500]
    text = 'the Sidecar answered with %d: %s' % (response.status, why)
    if response.status != 503:
        return SidecarRefused(text, response.status)
    after = response.getheader('Retry-After', '')
    return SidecarBusy(text, 503, float(after) if after.isdecimal() else 1.0)
