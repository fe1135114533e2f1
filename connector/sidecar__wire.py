"""Signed requests to the Sidecar, each on a connection of its own (see docs/protocol.md).

sidecar__helper and sidecar__callback use it. It handles requests, answers and deadlines, and does
not interpret them. It never stores, prints or raises the secret key: the key becomes the state of
an HMAC at once, from which it cannot be recovered. A private key becomes an object of the package
cryptography, which only private keys need.
"""
import base64
import contextlib
import hashlib
import hmac
import http.client
import io
import json
import re
import socket
import ssl
import time
import unicodedata
import uuid
from typing import Any, Dict, Iterator, Optional, Tuple, Union

CONNECT_TIMEOUT = 5.0  # seconds
READ_SIZE = 64 * 1024  # bytes
MAX_TIMEOUT = 2000000.0  # seconds; a system call cannot wait for much longer
MAX_ANSWER = 256 << 20  # bytes, held in memory; fits two outputs of 8 MiB (MAX_OUTPUT)
MAX_REFUSAL = 64 << 10  # bytes of an answer with an error
MAX_MESSAGE = 2000  # characters of its message in an exception
MAX_FOREIGN = 200  # characters of an answer that is not the Sidecar's
MAX_DEPTH = 100  # levels of lists and objects in an answer; the Sidecar's own have 4
MAX_DIGITS = 400  # of an integer
FORBIDDEN = ('. The request was not carried out. What this key may do is in its [KEY.…] of '
             '/etc/dataflux-func-sidecar on the host: let an operator change it, or use another key')
PEM_START = '-----BEGIN '
NOT_KNOWN = 'it is not known whether the request was carried out'


class SidecarError(Exception):
    """The base of all errors. Text of the other side is escaped in its message, for logs and
    terminals.
    """

    def __init__(self, message: str, status: Optional[int] = None,
                 retry_after: float = 1.0) -> None:
        super().__init__(_escaped(message))
        self.status = status  # of the HTTP answer, if there was one
        self.retry_after = retry_after  # seconds
        self.job_id: Optional[str] = None

    def __str__(self) -> str:
        return super().__str__() + (' (job %s)' % self.job_id if self.job_id else '')


class SidecarUnreachable(SidecarError):
    """No connection could be made; nothing was sent."""


class SidecarLost(SidecarError):
    """The connection broke before the answer, or the answer is not the Sidecar's but that of a
    proxy, whose HTTP status is `status`. The request may have been carried out.
    """


class SidecarTimeout(SidecarError):
    """No answer arrived in time. A command that was accepted goes on."""


class SidecarUnreadable(SidecarError):
    """The answer is too large or nested too deep. A command that was sent has been run."""


class SidecarRefused(SidecarError):
    """The Sidecar itself answered with an error; `status` is its HTTP status."""


class SidecarBusy(SidecarRefused):
    """The Sidecar is busy (503). Retry after `retry_after` seconds."""


class SigningKey:
    """Signs with a secret key without storing it."""

    def __init__(self, secret_key: Any) -> None:
        # It never raises: a report with the variables of the traceback would contain secret_key.
        raw = b''
        with contextlib.suppress(AttributeError, UnicodeEncodeError):
            raw = secret_key.encode('utf-8')
        self._mac = hmac.new(raw, digestmod=hashlib.sha1) if raw else None
        self._webhook_mac = hmac.new(raw, digestmod=hashlib.sha256) if raw else None
        self._is_none = secret_key is None

    @classmethod
    def of(cls, source: Any, private_key: Any = None) -> Union['SigningKey', 'PrivateKey']:
        """`source` is a key, the text of a private key, what this function returned, or the object
        that DFF.CONN('sidecar') returns; `private_key` replaces it.
        """
        if isinstance(private_key, PrivateKey):
            return private_key
        if private_key is not None:
            return PrivateKey(private_key)
        if isinstance(source, (cls, PrivateKey)):
            return source
        text = setting(source, 'secretKey') if is_connector(source) else source
        is_pem = isinstance(text, str) and PEM_START in text
        return PrivateKey(text) if is_pem else cls(text)

    @property
    def usable(self) -> bool:
        return self._mac is not None

    def check(self) -> None:
        """Raises a ValueError if the key cannot sign."""
        if self._is_none:
            raise ValueError('the secret key is None: the environment variable does not exist in '
                             'Func, or the connector has no key')
        if not self.usable:
            raise ValueError('the secret key is empty or not a text: use SECRET_KEY, or the SECRET '
                             'of a [KEY.…], from /etc/dataflux-func-sidecar')

    def sign(self, method: str, path: str, nonce: str, timestamp: str, body: bytes) -> str:
        """Returns the signature of a request. It does not cover the query."""
        mac = self._mac.copy()
        head = '\n'.join((method, path.partition('?')[0], nonce, timestamp, ''))
        mac.update(head.encode('utf-8') + body)
        return mac.hexdigest().upper()

    def headers(self, method: str, _authority: str, path: str, body: bytes,
                timestamp: str) -> Dict[str, str]:
        """Returns the headers that sign a request."""
        nonce = uuid.uuid4().hex
        return {'X-Auth-Nonce': nonce, 'X-Auth-Timestamp': timestamp,
                'X-Auth-Signature': self.sign(method, path, nonce, timestamp, body)}

    def sign_webhook(self, message_id: str, timestamp: str, body: bytes) -> str:
        """Returns the signature of a callback as Standard Webhooks defines it. It does not cover
        the path.
        """
        mac = self._webhook_mac.copy()
        mac.update(('%s.%s.' % (message_id, timestamp)).encode('utf-8') + body)
        return 'v1,' + base64.b64encode(mac.digest()).decode('ascii')


class PrivateKey:
    """Signs with an Ed25519 private key: HTTP message signatures of docs/protocol.md."""

    usable = False  # callbacks are signed with a secret

    def __init__(self, private_key: Any) -> None:
        # It never raises, as SigningKey. An error of cryptography is not passed on: it may quote.
        self._sign, self._key_id, self._fault = None, '', ''
        try:
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ed25519
        except ImportError:
            self._fault = ('a private key needs the Python package cryptography, which is not '
                           'installed here: install it (pip install cryptography, or Debian\'s '
                           'python3-cryptography), or use a secret key')
            return
        key = None
        with contextlib.suppress(Exception):
            raw = private_key.encode('ascii') if isinstance(private_key, str) else private_key
            key = serialization.load_pem_private_key(raw, None)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            self._fault = ('the private key must be the text of an Ed25519 private key in PEM '
                           '(PKCS#8), not encrypted, as `dataflux-func-sidecar keys new` makes it')
            return
        public = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self._sign, self._key_id = key.sign, base64.b64encode(public).decode('ascii')

    def check(self) -> None:
        """Raises a ValueError if the key cannot sign."""
        if self._fault:
            raise ValueError(self._fault)

    def headers(self, method: str, authority: str, path: str, body: bytes,
                timestamp: str) -> Dict[str, str]:
        """Returns the headers that sign a request, and Host, which is `authority`: http.client has
        its own idea of it.
        """
        covered = [('@method', method), ('@authority', authority),
                   ('@path', path.partition('?')[0]), ('@query', '?')]
        headers = {'Host': authority}
        if body:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')
            headers['Content-Digest'] = 'sha-256=:%s:' % digest
            covered.append(('content-digest', headers['Content-Digest']))
        params = '(%s);created=%s;nonce="%s";keyid="%s";alg="ed25519"' % (
            ' '.join('"%s"' % name for name, _ in covered), timestamp, uuid.uuid4().hex,
            self._key_id)
        lines = ['"%s": %s' % line for line in covered + [('@signature-params', params)]]
        signature = base64.b64encode(self._sign('\n'.join(lines).encode('ascii'))).decode('ascii')
        headers['Signature-Input'] = 'sidecar=' + params
        headers['Signature'] = 'sidecar=:%s:' % signature
        return headers


def is_connector(source: Any) -> bool:
    return hasattr(getattr(source, 'config', None), 'get')


def setting(connector: Any, name: str, default: Any = None) -> Any:
    """Returns a field of a connector's form in Func, or `default` for an empty one."""
    # No variable has the settings as a whole: a report with the variables would show the key.
    return connector.config.get(name) or default


class Deadline:
    """The time until which to wait for an answer."""

    def __init__(self, seconds: float) -> None:
        if not seconds <= MAX_TIMEOUT:  # refuses NaN as well
            raise ValueError('the timeout must be at most %d seconds' % MAX_TIMEOUT)
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def passed(self) -> bool:
        return self.left() < 0.01  # a socket's timeout may end that much earlier

    def bound(self, sock: socket.socket) -> None:
        sock.settimeout(max(self.left(), 0.001))  # 0 would mean non-blocking

    def pause(self, seconds: float) -> bool:
        """Sleeps unless the deadline is before the end of the pause; returns whether it slept."""
        if seconds >= self.left():
            return False
        time.sleep(seconds)
        return True


class Wire:
    """Sends requests to one Sidecar. Threads may share it."""

    def __init__(self, host: str, port: Union[int, str], key: Union[SigningKey, PrivateKey],
                 protocol: str, ca_file: Union[str, ssl.SSLContext, None]) -> None:
        # No error contains an argument: in the wrong order, one of them is the key.
        port = int(port) if str(port).isdecimal() else 0
        key.check()
        if not 0 < port < 65536:
            raise ValueError('the port must be a number from 1 to 65535')
        if not isinstance(host, str) or not re.match(r'[^\0-\x20\x7f]+\Z', host):
            raise ValueError('the host must be a name or an address without blanks')
        if protocol not in ('http', 'https'):
            raise ValueError("the protocol must be 'http' or 'https'")
        self._host, self._port, self._key = host, port, key
        self._tls = trust(ca_file) if protocol == 'https' else None
        self.url = '%s://%s:%d' % (protocol, '[%s]' % host if ':' in host else host, port)
        # The header Host that a private key signs: a zone is for this machine alone.
        name = host.partition('%')[0].lower()
        with contextlib.suppress(UnicodeError):  # no name of a host, so there is no connection
            name = name.encode('idna').decode('ascii')
        self._authority = '%s:%d' % ('[%s]' % name if ':' in name else name, port)
        if port == (443 if self._tls else 80):
            self._authority = self._authority.rpartition(':')[0]

    def exchange(self, method: str, path: str, body: Any, deadline: Deadline,
                 stamp: Optional[float] = None,
                 max_answer: Optional[int] = None) -> Tuple[int, Any]:
        """Sends a request once and returns status and answer. Raises for a status above 299, and
        for more than `max_answer` bytes.

        `stamp` is the timestamp to sign, by default the current time.
        """
        with self.request(method, path, body, deadline, stamp) as (response, pieces):
            bound = MAX_ANSWER if max_answer is None else max_answer
            return response.status, _decode(_read_all(pieces, bound))

    @contextlib.contextmanager
    def request(self, method: str, path: str, body: Any, deadline: Deadline,
                stamp: Optional[float] = None
                ) -> Iterator[Tuple[http.client.HTTPResponse, Iterator[bytes]]]:
        """Sends a request once; yields the head of the answer and an iterator over its body."""
        if not re.match(r'/[!-~]*\Z', path):
            raise ValueError('the path must begin with / and be printable ASCII without blanks')
        raw = b'' if body is None else json.dumps(body).encode('ascii')
        timestamp = str(int(time.time() if stamp is None else stamp))
        headers = self._key.headers(method, self._authority, path, raw, timestamp)
        headers['Content-Type'] = 'application/json'
        connection = self._connect(deadline)
        try:
            # A refusal can arrive before the body is sent.
            with contextlib.suppress(ConnectionError):
                deadline.bound(connection.sock)
                connection.request(method, path, raw, headers)
            with connection.getresponse() as response:
                pieces = _pieces(response)
                if response.status > 299:
                    raise _refusal(response, _read_start(pieces), self.url)
                yield response, pieces
        except (OSError, http.client.HTTPException) as fault:
            raise self._explain(fault, deadline) from None
        finally:
            connection.close()

    def _connect(self, deadline: Deadline) -> http.client.HTTPConnection:
        wait = max(min(deadline.left(), CONNECT_TIMEOUT), 0.001)
        if self._tls:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=wait, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=wait)
        try:
            connection.connect()
            _keep_alive(connection.sock)
        except (OSError, ValueError) as fault:  # ValueError: not a host name
            connection.close()
            raise SidecarUnreachable(self._advise(fault)) from None
        connection.response_class = lambda sock, *arguments, **named: _bounded(
            http.client.HTTPResponse(sock, *arguments, **named), sock, deadline)
        return connection

    def _explain(self, fault: Exception, deadline: Deadline) -> SidecarError:
        if deadline.passed():
            return SidecarTimeout(
                '%s did not answer in time: %s; a command that was accepted goes on'
                % (self.url, NOT_KNOWN))
        return SidecarLost(
            'the connection to %s broke before the answer was complete (%s): %s'
            % (self.url, str(fault) or type(fault).__name__, NOT_KNOWN))

    def _advise(self, fault: Exception) -> str:
        """Returns a message with hints for a connection that cannot be made."""
        text = 'cannot connect to %s: %s. ' % (self.url, fault)
        if not isinstance(fault, OSError):
            return text + 'Is this the name or the address of a host?'
        if isinstance(fault, ssl.SSLError):
            return text + ('Does the Sidecar speak TLS at this address, '
                           'and is its certificate trusted here (ca_file)?')
        return text + (
            'Look at the host: does the service run (systemctl status dataflux-func-sidecar.socket '
            'dataflux-func-sidecar.service)? Does BIND in /etc/dataflux-func-sidecar have an '
            'address that is reachable from here? In a container, 127.0.0.1 is the container '
            'itself, and the host is the address of docker0 there (ip address show docker0), '
            'usually 172.17.0.1. Does a firewall drop port %d?' % self._port)


def trust(ca_file: Union[str, ssl.SSLContext, None]) -> ssl.SSLContext:
    """Returns what to trust: the certificates of a PEM file, or of this machine. Loading them takes
    milliseconds and megabytes, so many Sidecars can share what it returns: it returns that as is.
    """
    if isinstance(ca_file, ssl.SSLContext):
        return ca_file
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as fault:  # ca_file is not shown, as it may be the key by mistake
        raise ValueError('the ca_file cannot be used (%s): '
                         'give the path of certificates in the PEM form' % fault) from None


def _keep_alive(sock: socket.socket) -> None:
    """Enables TCP keep-alive, so that a dead host is detected within a minute."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (('TCP_KEEPIDLE', 30), ('TCP_KEEPINTVL', 10), ('TCP_KEEPCNT', 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class _BoundedFile(io.RawIOBase):
    """Reads from a socket until the deadline, also if each byte comes just before a timeout."""

    def __init__(self, file: Any, sock: socket.socket, deadline: Deadline) -> None:
        super().__init__()
        self._file, self._sock, self._deadline = file, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        if self._deadline.passed():
            raise TimeoutError('timed out')
        self._deadline.bound(self._sock)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _bounded(response: http.client.HTTPResponse, sock: socket.socket,
             deadline: Deadline) -> http.client.HTTPResponse:
    """Makes head and body of an answer end at the deadline."""
    response.fp = io.BufferedReader(_BoundedFile(response.fp.detach(), sock, deadline), READ_SIZE)
    return response


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yields the body while it arrives. Raises at the end if it is incomplete."""
    left = None if response.chunked else response.length  # None: the length is not known
    # http.client takes headers that break off for whole ones, without a length and a body.
    broken = left is None and not response.chunked
    while left is None or left > 0:
        piece = response.read1(READ_SIZE if left is None else min(READ_SIZE, left))
        if not piece and (left or broken):
            raise http.client.IncompleteRead(b'', left)
        if not piece:
            return
        broken = False
        left = None if left is None else left - len(piece)
        yield piece


def _read_all(pieces: Iterator[bytes], max_answer: int) -> bytes:
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) > max_answer:
            raise SidecarUnreadable(
                'the answer has more than %d bytes (MAX_ANSWER in sidecar__wire): let the command '
                'write less, or read its output in pieces with output()' % max_answer)
    return bytes(held)


def _read_start(pieces: Iterator[bytes]) -> bytes:
    held = b''
    for piece in pieces:
        held += piece
        if len(held) > MAX_REFUSAL:
            break
    return held[:MAX_REFUSAL]


def _decode(raw: bytes) -> Any:
    """Decodes JSON; anything else is returned as text."""
    if not _is_shallow(raw):
        raise SidecarUnreadable(
            'the answer is nested more than %d deep, so it is not from a Sidecar' % MAX_DEPTH)
    try:
        return json.loads(raw.decode('utf-8'), parse_int=_number)
    except ValueError:
        return raw.decode('utf-8', 'replace')


_TOKENS = re.compile(rb'"[^"]*"?|[][{}]')  # strings, and brackets outside them; it never backtracks


def _is_shallow(raw: bytes) -> bool:
    """Returns whether nesting is within MAX_DEPTH. The JSON decoder recurses for each level,
    without a bound.
    """
    depth = 0
    for token in _TOKENS.finditer(raw.replace(b'\\\\', b'').replace(b'\\"', b'')):
        first = token.group()[:1]
        depth += (first in b'[{') - (first in b']}')
        if depth > MAX_DEPTH:
            return False
    return True


def _number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:  # the time of int() is quadratic
        raise ValueError('too many digits')
    return int(digits)


def _escaped(text: Any) -> str:
    """Escapes control, invisible and bidirectional characters, which could control a terminal or
    forge a line.
    """
    return ''.join(
        c if c.isprintable() or unicodedata.category(c) == 'Zs'
        else c.encode('unicode_escape').decode('ascii')
        for c in str(text))


def lost_to(url: str, status: int, answer: Any) -> SidecarLost:
    """Returns the error for an answer that is not of the protocol."""
    return SidecarLost(
        '%s answered with %d, and not in the form of a Sidecar; perhaps a proxy did (%s): %s'
        % (url, status, str(answer)[:MAX_FOREIGN], NOT_KNOWN), status)


def _refusal(response: http.client.HTTPResponse, raw: bytes, url: str) -> SidecarError:
    """Returns the error for a status above 299. Only an answer in the Sidecar's envelope says that
    nothing was run.
    """
    try:
        answer = _decode(raw)
    except SidecarUnreadable:
        answer = None
    if not isinstance(answer, dict) or answer.get('ok') is not False:
        return lost_to(url, response.status, answer)
    text = 'the Sidecar answered with %d: %s' % (
        response.status, str(answer.get('message'))[:MAX_MESSAGE])
    if response.status == 403:
        text += FORBIDDEN
    if response.status != 503:
        return SidecarRefused(text, response.status)
    after = response.getheader('Retry-After', '')
    return SidecarBusy(text, 503, float(after) if after.isdecimal() else 1.0)
