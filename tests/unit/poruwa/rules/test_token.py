"""Sealed tokens: what opens, and that nothing else does (SECURITY-CHECKS 24, 25, 26, 29)."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.token import KEY_BYTES, MAX_TOKEN_BYTES, NONCE_BYTES, Sealer

OLD, NEW, OTHER = (bytes([each]) * KEY_BYTES for each in b"\x01\x02\x03")
CLAIMS = b"\x93\x01\x02\x03"


def _segment(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def test_what_was_sealed_opens_again() -> None:
    sealer = Sealer([OLD, NEW], "session+jwe")
    token = sealer.seal(CLAIMS)
    assert sealer.open(token) == (CLAIMS, True)
    header = json.loads(base64.urlsafe_b64decode(token.split(b".")[0] + b"=="))
    assert header["alg"] == "dir"
    assert header["enc"] == "A256GCM"
    assert header["typ"] == "session+jwe"
    assert token.split(b".")[1] == b""


def test_a_token_of_an_older_key_opens_and_says_so() -> None:
    token = Sealer([OLD], "session+jwe").seal(CLAIMS)
    assert Sealer([OLD, NEW], "session+jwe").open(token) == (CLAIMS, False)


def test_a_key_that_left_the_ring_opens_nothing() -> None:
    token = Sealer([OLD], "session+jwe").seal(CLAIMS)
    assert Sealer([NEW], "session+jwe").open(token) is None


def test_the_last_key_seals_so_that_a_newer_one_can_be_introduced() -> None:
    sealer = Sealer([NEW, OLD], "session+jwe")
    assert Sealer([OLD], "session+jwe").open(sealer.seal(CLAIMS)) == (CLAIMS, True)


def test_a_token_of_another_type_under_the_same_keys_opens_nothing() -> None:
    token = Sealer([NEW], "csrf+jwe").seal(CLAIMS)
    assert Sealer([NEW], "session+jwe").open(token) is None


def test_each_token_has_a_nonce_of_its_own() -> None:
    sealer = Sealer([NEW], "session+jwe")
    assert len({sealer.seal(CLAIMS) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256", "typ": "session+jwe"},
        {"alg": "RS256", "kid": "x"},
        {"alg": "dir", "enc": "A256GCM", "zip": "DEF"},
        {"alg": "dir", "enc": "A256GCM", "jku": "https://evil.example/keys"},
        {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2c": 2147483647},
        {"alg": "dir", "enc": "A256GCM", "crit": ["exp"], "exp": 1},
    ],
)
def test_a_header_that_is_not_ours_opens_nothing(header: dict[str, object]) -> None:
    sealer = Sealer([NEW], "session+jwe")
    rest = sealer.seal(CLAIMS).partition(b"..")[2]
    own = json.loads(base64.urlsafe_b64decode(sealer.seal(CLAIMS).split(b".")[0] + b"=="))
    assert sealer.open(_segment(header) + b".." + rest) is None
    assert sealer.open(_segment({**own, **header}) + b".." + rest) is None
    assert sealer.open(_segment(header) + b"." + _segment({"exp": 9}) + b".") is None  # a JWS


def test_a_changed_bit_in_any_place_opens_nothing() -> None:
    sealer = Sealer([NEW], "session+jwe")
    token = sealer.seal(CLAIMS)
    for at in range(len(token)):
        for bit in range(8):
            changed = bytearray(token)
            changed[at] ^= 1 << bit
            assert sealer.open(bytes(changed)) is None


@given(st.binary(max_size=200))
def test_what_nobody_sealed_opens_nothing(token: bytes) -> None:
    sealer = Sealer([NEW], "session+jwe")
    assert sealer.open(token) is None
    assert sealer.open(sealer.seal(b"")[:-4] + token) is None


def test_one_token_has_one_spelling() -> None:
    sealer = Sealer([NEW], "session+jwe", random_bytes=lambda count: bytes(count))
    token = sealer.seal(b"\0")  # one byte: two characters, of which four bits mean nothing
    head, rest = token.split(b"..")
    nonce, text, tag = rest.split(b".")
    assert len(text) == 2
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    opened = [
        last
        for last in alphabet
        if sealer.open(b".".join((head, b"", nonce, text[:1] + bytes([last]), tag))) is not None
    ]
    assert len(opened) == 1
    assert sealer.open(token + b"=") is None


def test_what_does_not_fit_into_a_cookie_is_refused() -> None:
    sealer = Sealer([NEW], "session+jwe")
    with pytest.raises(ValueError, match="does not fit into a cookie"):
        sealer.seal(bytes(MAX_TOKEN_BYTES))


@pytest.mark.parametrize(
    ("keys", "typ", "said"),
    [
        ([], "a", "needs a key"),
        ([b"short"], "a", "32 bytes, not 5"),
        ([NEW, NEW], "a", "twice"),
        ([NEW], 'a"b', "is no type"),
    ],
)
def test_rings_that_cannot_be_are_refused(keys: list[bytes], typ: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sealer(keys, typ)


def test_another_implementation_reads_and_writes_them() -> None:
    """joserfc, by the standard: direct encryption with a header that names the key."""
    jwe = pytest.importorskip("joserfc.jwe")
    jwk = pytest.importorskip("joserfc.jwk")
    key = jwk.OctKey.import_key(NEW)
    sealer = Sealer([NEW], "session+jwe", random_bytes=lambda count: b"\7" * count)
    token = sealer.seal(CLAIMS)
    assert (
        jwe.decrypt_compact(token.decode(), key, algorithms=["dir", "A256GCM"]).plaintext == CLAIMS
    )
    header = {"alg": "dir", "enc": "A256GCM", "kid": sealer.kid, "typ": "session+jwe"}
    theirs = jwe.encrypt_compact(header, CLAIMS, key, algorithms=["dir", "A256GCM"])
    assert sealer.open(theirs.encode()) == (CLAIMS, True)
    assert NONCE_BYTES == 12
