"""The certificate of this run: a key of the curve P-256 and a certificate signed with it, made without other programs.

Peers know it by its fingerprint, which they are told by their standard input or by who started them. So its signature,
its name and its dates prove nothing to anybody; that its key is random, and known to this process alone, does. The key
is used by the module `ssl`; the arithmetic here makes the public key from it, and the one signature that the form of a
certificate asks for (RFC 5280, RFC 5480; SEC 1).
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile

from polyproc._base.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ssl

_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
_PRIME256V1 = bytes.fromhex("06082a8648ce3d030107")
_ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("0603550403")
_FROM, _UNTIL = b"200101000000Z", b"490101000000Z"  # a run has no dates, and clocks of hosts differ

_Point = tuple[int, int] | None


class Certificate(NamedTuple):
    """A certificate and its key, as PEM, and the fingerprint by which peers know it."""

    pem: str
    fingerprint: str

    def server_context(self) -> ssl.SSLContext:
        """Return a context for the side that has the certificate: TLS 1.3 alone."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # The module reads keys from files alone; this one is the user's, and is gone at once.
        fd, path = tempfile.mkstemp(prefix="polyproc-")
        try:
            os.write(fd, self.pem.encode())
            context.load_cert_chain(path)
        finally:
            os.close(fd)
            os.unlink(path)
        return context


def make_certificate() -> Certificate:
    """Make a certificate of this run."""
    key = _random_scalar()
    public = _multiply(key, _G)
    point = b"\x04" + _coordinates(public)
    algorithm = _sequence(_ECDSA_WITH_SHA256)
    name = _sequence(_tagged(0x31, _sequence(_COMMON_NAME, _tagged(0x0C, b"polyproc"))))
    body = _sequence(
        _tagged(0xA0, _integer(2)),
        _integer(int.from_bytes(os.urandom(8), "big") >> 1),
        algorithm,
        name,
        _sequence(_tagged(0x17, _FROM), _tagged(0x17, _UNTIL)),
        name,
        _sequence(_sequence(_EC_PUBLIC_KEY, _PRIME256V1), _tagged(0x03, b"\0" + point)),
    )
    der = _sequence(body, algorithm, _tagged(0x03, b"\0" + _signature(key, body)))
    private = _sequence(
        _integer(1),
        _tagged(0x04, key.to_bytes(32, "big")),
        _tagged(0xA0, _PRIME256V1),
        _tagged(0xA1, _tagged(0x03, b"\0" + point)),
    )
    pem = _armoured("CERTIFICATE", der) + _armoured("EC PRIVATE KEY", private)
    return Certificate(pem, hashlib.sha256(der).hexdigest())


def _random_scalar() -> int:
    return int.from_bytes(os.urandom(40), "big") % (_N - 1) + 1


def _signature(key: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    once = _random_scalar()
    point = _multiply(once, _G)
    assert point is not None  # a multiple of the generator that is not of its order
    r = point[0] % _N
    s = pow(once, -1, _N) * (digest + r * key) % _N
    return _sequence(_integer(r), _integer(s))


def _add(one: _Point, other: _Point) -> _Point:
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % _P == 0:
        return None
    rise, run = (3 * x1 * x1 - 3, 2 * y1) if one == other else (y2 - y1, x2 - x1)
    slope = rise * pow(run, -1, _P)
    x = (slope * slope - x1 - x2) % _P
    return x, (slope * (x1 - x) - y1) % _P


def _multiply(factor: int, point: _Point) -> _Point:
    found: _Point = None
    while factor:
        if factor & 1:
            found = _add(found, point)
        point = _add(point, point)
        factor >>= 1
    return found


def _coordinates(point: _Point) -> bytes:
    assert point is not None  # a public key
    return point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


# -- DER and PEM: a tag, a length, a value -----------------------------------------------------------------------------


def _tagged(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    if len(value) < 0x80:
        return bytes((tag, len(value))) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, *parts)


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _armoured(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
