"""One cache entry as bytes: what is written, and every check before a payload is believed.

An entry is magic, format major.minor, digest, payload length, checksum (BLAKE2b-256 of all other
bytes) and payload, little-endian. Its name is ``<digest>.2.trace``; 2 is the major format number,
so that other versions of phasic use other names in the same folder.
"""

from __future__ import annotations

import hashlib
import struct

from phasic._errors import CacheCorruptionError

FORMAT_MAJOR = 2
_MAGIC = b"PHASICTR"
_MINOR = 0
_HEADER = struct.Struct("<8sHH32sQ")  # magic, major, minor, digest, payload length
_CHECKSUM_BYTES = 32
_PREFIX_BYTES = _HEADER.size + _CHECKSUM_BYTES


def check_digest(digest: str) -> str:
    """Return ``digest`` if it is 64 lower-case hex digits, which also makes it a safe file name.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if (
        not isinstance(digest, str)
        or len(digest) != 64
        or not all(c in "0123456789abcdef" for c in digest)
    ):
        raise ValueError(f"digest is {digest!r}, expected 64 lower-case hexadecimal digits")
    return digest


def entry_name(digest: str) -> str:
    """Return the name of the file or object that holds a digest's entry."""
    return f"{check_digest(digest)}.{FORMAT_MAJOR}.trace"


def _checksum(header: bytes, payload: bytes) -> bytes:
    state = hashlib.blake2b(header, digest_size=_CHECKSUM_BYTES)
    state.update(payload)
    return state.digest()


def encode_entry(digest: str, payload: bytes) -> bytes:
    """Return the file content that stores ``payload`` under ``digest``."""
    header = _HEADER.pack(
        _MAGIC, FORMAT_MAJOR, _MINOR, bytes.fromhex(check_digest(digest)), len(payload)
    )
    return header + _checksum(header, payload) + payload


def decode_entry(digest: str, content: bytes) -> bytes:
    """Return the payload of an entry after checking every field of it.

    Raises
    ------
    CacheCorruptionError
        If the content is not an intact entry of this digest.
    """
    if len(content) < _PREFIX_BYTES:
        raise CacheCorruptionError(
            f"cache entry has {len(content)} bytes, expected at least {_PREFIX_BYTES}"
        )
    header = content[: _HEADER.size]
    magic, major, _, stored_digest, length = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise CacheCorruptionError(f"cache entry starts with {magic!r}, expected {_MAGIC!r}")
    if major != FORMAT_MAJOR:
        raise CacheCorruptionError(f"cache entry has format {major}, expected {FORMAT_MAJOR}")
    payload = content[_PREFIX_BYTES:]
    if len(payload) != length:
        raise CacheCorruptionError(
            f"cache entry holds {len(payload)} payload bytes, expected {length}"
        )
    if _checksum(header, payload) != content[_HEADER.size : _PREFIX_BYTES]:
        raise CacheCorruptionError("cache entry does not match its checksum")
    if stored_digest.hex() != digest:
        raise CacheCorruptionError(
            f"cache entry belongs to digest {stored_digest.hex()}, expected {digest}"
        )
    return payload


__all__ = ["FORMAT_MAJOR", "check_digest", "decode_entry", "encode_entry", "entry_name"]
