"""Challenge and answer: each side proves that it knows the key, without saying it. As in the standard library.

    deliverer                                       answerer
    "#CHALLENGE#" "{sha256}" 40 random bytes  --->
                          <---  "{sha256}" HMAC-SHA256(key, all after the prefix)
    "#WELCOME#" or "#FAILURE#"                --->

Then they change roles. A peer of the 3.11 standard library sends 20 bytes without a digest's name and expects HMAC-MD5.

The two sides are generators that know no connection: they yield bytes to send, or None for the next message. So one
a listener with many peers (admission.py) runs the same protocol as one with a single peer.

A side that has come to its good end returns PROVED. Nothing else stands for success: a generator that an exception has
ended (a signal handler's, say) is over, too, but returns None when it is asked again.
"""

from __future__ import annotations

import hmac
import os

from polyproc._base.errors import AuthenticationError
from polyproc._base.typing import Any, Final, Generator

MESSAGE_LENGTH = 40
_CHALLENGE = b"#CHALLENGE#"
_WELCOME = b"#WELCOME#"
_FAILURE = b"#FAILURE#"

_ALLOWED_DIGESTS = frozenset({b"md5", b"sha256", b"sha384", b"sha3_256", b"sha3_384"})
_LEGACY_LENGTHS = frozenset({16, 20})  # an MD5 digest; a challenge of 3.11 and older
LIMIT = 256  # bytes of a message


class Proof:
    """The good end of a handshake's side."""


PROVED: Final = Proof()
Steps = Generator[bytes | None, bytes, Proof]


def _digest_and_payload(message: bytes) -> tuple[str, bytes]:
    """Split "{digest}payload"; a message of a legacy length means MD5.

    Such a message is random, and one in 256 begins with a brace; none with a digest's name is as short.
    """
    if len(message) in _LEGACY_LENGTHS:
        return "", message
    if message.startswith(b"{") and (end := message.find(b"}", 1, 20)) > 0:
        digest = message[1:end]
        if digest in _ALLOWED_DIGESTS:
            return digest.decode("ascii"), message[end + 1 :]
    raise AuthenticationError(
        f"unsupported message length, missing digest prefix, or unsupported digest: message={message!r}"
    )


def _create_response(authkey: bytes, message: bytes) -> bytes:
    """Return the answer to a challenge, in the form that the challenger understands."""
    digest, _ = _digest_and_payload(message)
    prefix = b"{" + digest.encode("ascii") + b"}" if digest else b""
    return prefix + _mac(authkey, message, digest)


def _mac(authkey: bytes, message: bytes, digest: str) -> bytes:
    try:
        return hmac.new(authkey, message, digest or "md5").digest()
    except ValueError:  # this system does without some of them
        raise AuthenticationError(f"{digest=} unsupported") from None


def _verify_challenge(authkey: bytes, message: bytes, response: bytes) -> None:
    """Raise AuthenticationError unless `response` is right for the challenge `message`."""
    digest, mac = _digest_and_payload(response)
    expected = _mac(authkey, message, digest)
    if len(expected) != len(mac):
        raise AuthenticationError(f"expected {digest!r} of length {len(expected)} got {len(mac)}")
    if not hmac.compare_digest(expected, mac):
        raise AuthenticationError("digest received was wrong")


def deliver_steps(authkey: bytes, digest_name: str = "sha256") -> Steps:
    """Challenge the other side."""
    message = b"{" + digest_name.encode("ascii") + b"}" + os.urandom(MESSAGE_LENGTH)
    yield _CHALLENGE + message
    response = yield None
    try:
        _verify_challenge(authkey, message, response)
    except AuthenticationError:
        yield _FAILURE
        raise
    yield _WELCOME
    return PROVED


def answer_steps(authkey: bytes) -> Steps:
    """Answer the other side's challenge."""
    message = yield None
    if not message.startswith(_CHALLENGE):
        raise AuthenticationError(f"Protocol error, expected challenge: {message=}")
    message = message[len(_CHALLENGE) :]
    if len(message) < 16:
        raise AuthenticationError(f"challenge too short: {len(message)} bytes")
    yield _create_response(authkey, message)
    if (yield None) != _WELCOME:
        raise AuthenticationError("digest sent was rejected")
    return PROVED


def deliver_challenge(connection: Any, authkey: bytes, digest_name: str = "sha256") -> None:
    """Challenge the other side. Raises AuthenticationError if its answer is wrong."""
    _check(authkey)
    _run(connection, deliver_steps(authkey, digest_name))


def answer_challenge(connection: Any, authkey: bytes) -> None:
    """Answer the other side's challenge. Raises AuthenticationError if it does not accept."""
    _check(authkey)
    _run(connection, answer_steps(authkey))


def _check(authkey: object) -> None:
    if not isinstance(authkey, bytes):
        raise ValueError(f"Authkey must be bytes, not {type(authkey)!s}")


def _run(connection: Any, steps: Steps) -> None:
    try:
        wanted = next(steps)
        while True:
            if wanted is None:
                wanted = steps.send(connection.recv_bytes(LIMIT))
            else:
                connection.send_bytes(wanted)
                wanted = next(steps)
    except StopIteration as end:
        if end.value is not PROVED:
            raise AuthenticationError("the handshake was interrupted") from None
