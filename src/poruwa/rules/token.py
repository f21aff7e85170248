"""Sealed tokens: what a browser holds for us and can neither read nor change.

A compact JWE (RFC 7516) with direct encryption by AES-256-GCM (RFC 7518 sections 4.5, 5.3):

    BASE64URL(header) . . BASE64URL(iv) . BASE64URL(claims) . BASE64URL(tag)

The header of a key is always the same bytes, so that reading compares it instead of parsing it:
whatever else a header may ask for (another algorithm, a URL to fetch keys from, compression,
``crit``) is simply not one of ours (RFC 8725 sections 3.1 and 3.10). What is sealed is MessagePack.
Each kind of token has a ``typ`` of its own, which is part of the header and so of what is
authenticated: a token made for one purpose is never taken for another (RFC 8725 section 3.11).

A key must seal fewer than 2**32 tokens with random nonces (NIST SP 800-38D section 8.3); ``Sealer``
counts what it sealed itself. Expiry, audience and revocation are the caller's business
(``rules.session``). No clock.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import urlsafe_b64encode
from binascii import Error as BinasciiError
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
MAX_TOKEN_BYTES: Final = 4096 - 256
"""Longest token: name and value of a cookie are 4,096 bytes together (RFC 6265bis section 5.6)."""

SEALED_MOST: Final = 1 << 32
_KID_CHARACTERS: Final = 11  # of a hash of the key: 64 bits
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# What is no base64url becomes "!", which is no base64.
_TO_BASE64: Final = bytes(
    (b"+" if n == 45 else b"/" if n == 95 else bytes((n,)) if n in _ALPHABET else b"!")[0]
    for n in range(256)
)
_LAST_CHARACTERS: Final = (b"", b"", _ALPHABET[::16], _ALPHABET[::4])  # by length modulo 4
_PADDING: Final = (b"", b"", b"==", b"=")


class TokenKey:
    """One key of a ring, ready for one type of token.

    Attributes:
        kid: its name, a hash of it; tells nothing of it.
        head: the first segment of its tokens and the two dots after it.
    """

    __slots__ = ("_additional", "_cipher", "head", "kid")

    def __init__(self, key: bytes, typ: str) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        self.kid = key_name(key)
        header = f'{{"alg":"dir","enc":"A256GCM","kid":"{self.kid}","typ":"{typ}"}}'
        self._additional = _encode(header.encode())
        self.head = self._additional + b".."
        self._cipher = AESGCM(key)

    def seal(self, claims: bytes, nonce: bytes) -> bytes:
        """Return the token that holds ``claims``; the nonce must be new."""
        sealed = self._cipher.encrypt(nonce, claims, self._additional)
        return b".".join(
            (
                self.head[:-1],
                _encode(nonce),
                _encode(sealed[:-TAG_BYTES]),
                _encode(sealed[-TAG_BYTES:]),
            )
        )

    def open(self, rest: bytes) -> bytes | None:
        """Return the claims of what stands after ``head``; None for what this key did not seal."""
        segments = rest.split(b".")
        if len(segments) != 3:
            return None
        nonce, text, tag = map(_decode, segments)
        if nonce is None or text is None or tag is None:
            return None
        if len(nonce) != NONCE_BYTES or len(tag) != TAG_BYTES:
            return None
        try:
            return self._cipher.decrypt(nonce, text + tag, self._additional)
        except InvalidTag:
            return None


class Sealer:
    """A ring of keys for one type of token: seals with one, opens with all.

    Args:
        keys: 32 bytes each; the last one seals.
        typ: what the tokens are for; letters, digits, ``+``, ``-`` and ``.``.
        random_bytes: where nonces come from.

    Raises:
        ValueError: no key, one of another length or given twice, or a ``typ`` that a header cannot
            hold as it is.
    """

    __slots__ = ("_keys", "_random_bytes", "_sealing", "sealed")

    def __init__(
        self,
        keys: Sequence[bytes],
        typ: str,
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not keys:
            raise ValueError("a key ring needs a key")
        if re.fullmatch(r"[A-Za-z0-9.+-]+", typ) is None:
            raise ValueError(f"{typ!r} is no type of a token: letters, digits, '+', '-', '.'")
        ring = [TokenKey(key, typ) for key in keys]
        self._keys = {key.head: key for key in ring}
        if len(self._keys) != len(ring):
            raise ValueError("a key is twice in the ring")
        self._sealing = ring[-1]
        self._random_bytes = random_bytes
        self.sealed = 0  # tokens by this object; far below 2**32 in the life of a process

    @property
    def kid(self) -> str:
        """The name of the key that seals."""
        return self._sealing.kid

    def seal(self, claims: bytes) -> bytes:
        """Return a token.

        Raises:
            ValueError: it would be longer than ``MAX_TOKEN_BYTES``; it is never cut in pieces.
        """
        self.sealed += 1
        if self.sealed >= SEALED_MOST:
            raise ValueError("this key has sealed all that it may: rotate it (poruwa keys rotate)")
        token = self._sealing.seal(claims, self._random_bytes(NONCE_BYTES))
        if len(token) > MAX_TOKEN_BYTES:
            raise ValueError(
                f"a token of {len(token)} bytes does not fit into a cookie; "
                f"{MAX_TOKEN_BYTES} is the most: keep less in it"
            )
        return token

    def knows(self, token: bytes) -> bool:
        """Whether a token says that it is under a key of this ring."""
        return token[: token.find(b"..") + 2] in self._keys

    def open(self, token: bytes) -> tuple[bytes, bool] | None:
        """Return the claims, and whether the key is the one that seals now.

        None for everything that is not a token of this ring and type, whatever is wrong with it.
        """
        at = token.find(b"..")
        if at < 0 or len(token) > MAX_TOKEN_BYTES:
            return None
        key = self._keys.get(token[: at + 2])
        if key is None:
            return None
        claims = key.open(token[at + 2 :])
        return None if claims is None else (claims, key is self._sealing)


def key_name(key: bytes) -> str:
    """Return what tokens call a key: a hash of it, which tells nothing of it."""
    digest = hashlib.sha256(b"poruwa-kid\0" + key).digest()
    return urlsafe_b64encode(digest)[:_KID_CHARACTERS].decode()


def _encode(plain: bytes) -> bytes:
    """Return base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(plain).rstrip(b"=")


def _decode(text: bytes) -> bytes | None:
    """Return what ``text`` encodes, if it is the one way to write that."""
    rest = len(text) % 4
    # The last character may carry bits that mean nothing: one token, one spelling.
    if not text or (rest and text[-1] not in _LAST_CHARACTERS[rest]):
        return None
    try:
        return a2b_base64(text.translate(_TO_BASE64) + _PADDING[rest], strict_mode=True)
    except BinasciiError:
        return None
