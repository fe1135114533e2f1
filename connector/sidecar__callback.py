"""Tells a callback of the Sidecar from a forged one.

For receivers that see the request as it came: an HTTP server of your own, a web framework. A function of
Func such as `def cb(stdout, stderr)` sees neither headers nor raw body, so it cannot check; keep its URL
secret instead. It must never hold, print or raise the secret key.

The signature covers the path and the body. The headers X-Sidecar-… are not covered: to be sure which job a
callback belongs to, put an id of your own into the path of its URL. A callback may come more than once, also
because somebody repeats what he saw within `window`: make the receiver's work repeatable.
"""
import hmac
import json
import time
from typing import Any, Dict, List, Mapping, Union

import sidecar__wire


def verify_callback(secret_key: Union[str, List[str]], path: str, headers: Mapping[str, str], body: bytes,
                    window: float = 300.0) -> Dict[str, Any]:
    """Returns {'stdout': …, 'stderr': …} of a genuine callback; raises ValueError for any other.

    `secret_key` is the key, or the list of keys while one is rotated. `path` is the request's, as it came, and
    `body` its raw bytes. `window` is how many seconds the Sidecar's clock may be off.
    """
    keys = [sidecar__wire.SigningKey(key) for key in ([secret_key] if isinstance(secret_key, str) else secret_key)]
    del secret_key  # a report that shows the variables of a traceback must not find it
    given = {name.lower(): value for name, value in headers.items()}
    nonce, timestamp, signature = (given.get('x-auth-' + part, '') for part in ('nonce', 'timestamp', 'signature'))
    if not any([_matches(key, signature, path, nonce, timestamp, body) for key in keys]):
        raise ValueError('the callback is not signed with this key')
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > window:
        raise ValueError('the callback is signed for another time: was it repeated, or is a clock wrong?')
    return json.loads(body.decode('utf-8'))['kwargs']


def _matches(key: sidecar__wire.SigningKey, signature: str, path: str, nonce: str, timestamp: str, body: bytes) -> bool:
    expected = key.sign('POST', path, nonce, timestamp, body) if key.usable else ''
    return key.usable and hmac.compare_digest(expected.encode('ascii'), signature.upper().encode('utf-8'))
