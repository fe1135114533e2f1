"""Verifies that a callback is the Sidecar's.

In a function of Func, which sees the request that called it as _DFF_HTTP_REQUEST:

    @DFF.API('Receive the result of a command')
    def cb(stdout, stderr):
        got = sidecar__callback.verify_call(DFF.CONN('sidecar'), _DFF_HTTP_REQUEST)
        got['stdout'], got['exitCode'], got['jobId']

A receiver of your own, which has the headers and the raw body, calls verify_callback. The secret
key is not stored, printed or raised.

The signature covers path and body. It does not cover the X-Sidecar-… headers, such as job id and
exit code: over plain HTTP somebody on the way could change them. Where that matters, ask the
Sidecar for the job, or put an id of your own into the path of the URL. A callback can arrive more
than once, also as a replay within `window`: make the receiver idempotent.

Some proxies remove headers whose names begin with X-. Where all three of the signature are missing,
verify_call uses the second signature of a callback, that of Standard Webhooks. It covers job id and
body, and not the path.
"""
import hmac
import json
import time
from typing import Any, Dict, List, Mapping, Optional

import sidecar__wire

SIGNATURE_PARTS = ('nonce', 'timestamp', 'signature')  # of the names of headers: X-Auth-…
WEBHOOK_PARTS = ('id', 'timestamp', 'signature')  # Webhook-…
MAX_DIGITS = 20  # of a number in a header


def verify_call(secret_key: Any, request: Mapping[str, Any],
                window: float = 300.0) -> Dict[str, Any]:
    """Returns stdout, stderr, jobId, attempt, state, exitCode and signal of the callback that
    called a function of Func; raises ValueError if it is not the Sidecar's.

    `secret_key` is the object that DFF.CONN('sidecar') returns, or the key, or a list of these
    during a rotation. `request` is _DFF_HTTP_REQUEST. `window` is how far the clocks may differ, in
    seconds. `exitCode` is None if a signal ended the command, and if there is no result: see
    `state`. All but stdout and stderr come from headers, which are not signed; those that a proxy
    has removed are None, except `jobId`, which is then the signed one of Standard Webhooks.
    """
    keys = _keys(secret_key)
    del secret_key  # a report with the variables of a traceback must not contain it
    _check(keys)
    if not isinstance(request, Mapping) or not request.get('headers'):
        raise ValueError('there is no HTTP request: pass _DFF_HTTP_REQUEST, '
                         'which Func sets when a function is called through its URL')
    headers, body = _lower(request['headers']), _rebuilt(request.get('body'))
    if any('x-auth-' + part in headers for part in SIGNATURE_PARTS):
        job_id = headers.get('x-sidecar-job-id')
        kwargs = _verify(keys, str(request.get('originalUrl', '')), headers, body, window)
    else:
        job_id = headers.get('webhook-id', '').rpartition(':')[2] or None  # of KEY:ID
        kwargs = _verify_webhook(keys, headers, body, window)
    return dict(
        kwargs, jobId=job_id, state=headers.get('x-sidecar-state'),
        attempt=_number(headers.get('x-sidecar-attempt')), signal=headers.get('x-sidecar-signal'),
        exitCode=_number(headers.get('x-sidecar-exit-code')))


def verify_callback(secret_key: Any, path: str, headers: Mapping[str, str],
                    body: bytes, window: float = 300.0) -> Dict[str, Any]:
    """Returns {'stdout': …, 'stderr': …} of a genuine callback; raises ValueError for any other.

    `secret_key` is the key, or a list of keys during a rotation. `path` is that of the request as
    received, and `body` its raw bytes. `window` is how far the clocks may differ, in seconds.
    """
    keys = _keys(secret_key)
    del secret_key  # a report with the variables of a traceback must not contain it
    _check(keys)
    return _verify(keys, path, _lower(headers), body, window)


def _keys(secret_key: Any) -> List[sidecar__wire.SigningKey]:
    """Returns one or more keys in the form that cannot be read. It never raises."""
    several = isinstance(secret_key, (list, tuple))
    return [sidecar__wire.SigningKey.of(key) for key in (secret_key if several else [secret_key])]


def _check(keys: List[sidecar__wire.SigningKey]) -> None:
    for key in keys:
        key.check()
        if not key.usable:
            raise ValueError('a private key verifies no callback: they are signed with the SECRET '
                             'of the key')


def _lower(headers: Mapping[str, str]) -> Dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _rebuilt(body: Any) -> bytes:
    """Returns the bytes of a callback's body, which have one fixed form, from what was parsed."""
    kwargs = body.get('kwargs') if isinstance(body, Mapping) else None
    if (not isinstance(kwargs, Mapping) or set(kwargs) != {'stdout', 'stderr'}
            or not all(isinstance(text, str) for text in kwargs.values())):
        raise ValueError('the body is not that of a callback: '
                         'it needs kwargs with stdout and stderr')
    fixed = {'kwargs': {'stdout': kwargs['stdout'], 'stderr': kwargs['stderr']}}
    text = json.dumps(fixed, ensure_ascii=False, separators=(',', ':'))
    return text.encode('utf-8', 'replace')  # a lone surrogate is not the Sidecar's


def _verify(keys: List[sidecar__wire.SigningKey], path: str, headers: Dict[str, str],
            body: bytes, window: float) -> Dict[str, Any]:
    nonce, timestamp, signature = (headers.get('x-auth-' + part, '') for part in SIGNATURE_PARTS)
    expected = [key.sign('POST', path, nonce, timestamp, body) for key in keys]
    return _accept(expected, signature.upper(), timestamp, body, window)


def _verify_webhook(keys: List[sidecar__wire.SigningKey], headers: Dict[str, str], body: bytes,
                    window: float) -> Dict[str, Any]:
    job_id, timestamp, signature = (headers.get('webhook-' + part, '') for part in WEBHOOK_PARTS)
    expected = [key.sign_webhook(job_id, timestamp, body) for key in keys]
    return _accept(expected, signature, timestamp, body, window)


def _accept(expected: List[str], signature: str, timestamp: str, body: bytes,
            window: float) -> Dict[str, Any]:
    """Returns stdout and stderr if the signature is one of the expected, and the time is right."""
    given = signature.encode('utf-8')
    if not any([hmac.compare_digest(one.encode('ascii'), given) for one in expected]):
        raise ValueError('the callback is not signed with this key')
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > window:
        raise ValueError(
            'the callback is signed for another time: was it repeated, or is a clock wrong?')
    return json.loads(body.decode('utf-8'))['kwargs']


def _number(text: Optional[str]) -> Optional[int]:
    """Returns a header as a number; None if it is missing or no number."""
    return int(text) if text and text.isdecimal() and len(text) <= MAX_DIGITS else None
