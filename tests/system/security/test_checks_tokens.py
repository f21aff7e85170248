"""Security checks 24 to 29, but 27: what is sent in the place of a session's token (D2)."""

from __future__ import annotations

import hmac
import json
import os
import time
import zlib
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fakes.tls_stack import DAY, SESSION, TlsStack
from poruwa.app.security.keys import CSRF, SESSIONS
from poruwa.rules.session import encode_claims
from poruwa.rules.token import SEALED_MOST, Sealer

USER = "token-user"
# What differs between any two answers: when, which request, which instance was free.
VARYING = ("date", "x-request-id", "traceparent", "server-timing", "age")


def b64(plain: bytes) -> str:
    return urlsafe_b64encode(plain).rstrip(b"=").decode()


def jwe(header: dict[str, Any], key: bytes, plain: bytes) -> str:
    """Return a token that is sealed rightly, whatever its header says."""
    head = b64(json.dumps(header, separators=(",", ":")).encode())
    nonce = os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, plain, head.encode())
    return ".".join((head, "", b64(nonce), b64(sealed[:-16]), b64(sealed[-16:])))


class Forger:
    """Somebody who has the right key and the claims, which is more than any attacker has."""

    def __init__(self, stack: TlsStack) -> None:
        self.key = stack.keys.ring.derived(SESSIONS)[-1]
        token = stack.sign_in(USER)
        self.claims = encode_claims(stack.claims(token))
        self.header: dict[str, Any] = {
            "alg": "dir", "enc": "A256GCM", "kid": stack.keys.sealer.kid, "typ": "session+jwe",
        }  # fmt: skip

    def token(self, plain: bytes | None = None, **changes: Any) -> str:
        return jwe(self.header | changes, self.key, self.claims if plain is None else plain)


@pytest.fixture(scope="module")
def forger(stack: TlsStack) -> Forger:
    forger = Forger(stack)
    assert stack.who(forger.token()) == {USER}, "its tokens must be good but for what a test does"
    return forger


@pytest.mark.check(24)
def test_24_signed_and_unsigned_tokens_are_none(stack: TlsStack, forger: Forger) -> None:
    """RFC 8725 section 3.1, ASVS 9.1.1: JWS in three parts, `none`, HS256 with our own key."""
    plain = b64(json.dumps({"sub": USER, "exp": int(time.time()) + DAY}).encode())
    for alg in ("none", "None", "HS256", "RS256"):
        head = b64(json.dumps({"alg": alg, "kid": forger.header["kid"]}).encode())
        signed = f"{head}.{plain}"
        mac = b64(hmac.digest(forger.key, signed.encode(), "sha256"))
        for token in (f"{signed}.", f"{signed}.{mac}", f"{head}.{b64(forger.claims)}.{mac}"):
            assert stack.who(token) == {None}


@pytest.mark.check(24)
@pytest.mark.parametrize(
    "changes",
    [{"alg": "none"}, {"alg": "A256KW"}, {"alg": "RSA-OAEP"}, {"alg": "ECDH-ES"}, {"alg": "DIR"},
     {"enc": "A128GCM"}, {"enc": "A256CBC-HS512"}, {"enc": "none"}],
    ids=str,
)  # fmt: skip
def test_24_other_algorithms_are_refused(
    stack: TlsStack, forger: Forger, changes: dict[str, Any]
) -> None:
    assert stack.who(forger.token(**changes)) == {None}


@pytest.mark.check(25)
@pytest.mark.parametrize(
    "changes",
    [
        {"jku": "https://elsewhere.example/keys"}, {"x5u": "https://elsewhere.example/chain"},
        {"jwk": {"kty": "oct", "k": "AAAA"}}, {"x5c": ["AAAA"]}, {"crit": ["exp"]},
        {"alg": "PBES2-HS256+A128KW", "p2c": 2_000_000_000, "p2s": "AAAA"}, {"p2c": 1},
        {"epk": {}}, {"kid": "../../dev/null"}, {"kid": None}, {"b64": False},
    ],
    ids=str,
)  # fmt: skip
def test_25_headers_that_ask_for_something_are_refused(
    stack: TlsStack, forger: Forger, changes: dict[str, Any]
) -> None:
    """RFC 8725 section 3.10, ASVS 9.1.3: nothing is fetched, derived or understood."""
    assert stack.who(forger.token(**changes)) == {None}


@pytest.mark.check(25)
def test_25_nothing_is_decompressed(stack: TlsStack, forger: Forger) -> None:
    deflate = zlib.compressobj(wbits=-15)
    small = deflate.compress(forger.claims) + deflate.flush()
    assert stack.who(forger.token(small, zip="DEF")) == {None}
    assert stack.who(forger.token(forger.claims, zip="DEF")) == {None}


@pytest.mark.check(26)
def test_26_expiry_beginning_and_audience_are_heeded(stack: TlsStack) -> None:
    now = int(time.time())
    assert stack.who(stack.token(USER)) == {USER}
    for wrong in (
        {"expires_at": now - 1},
        {"issued_at": now + 300, "expires_at": now + DAY},
        {"audience": "another-site"},
        {"audience": ""},
        {"audience": "WEDDINGLK"},
    ):
        assert stack.who(stack.token(USER, **wrong)) == {None}, wrong


@pytest.mark.check(26)
def test_26_what_was_made_for_another_purpose_opens_no_session(
    stack: TlsStack, forger: Forger
) -> None:
    """RFC 8725 section 3.11, ASVS 9.2.1: the type is part of what is authenticated."""
    csrf_key = stack.keys.ring.derived(CSRF)[-1]
    form_token = stack.get("/doors/form", forger.token()).text
    assert len(form_token) == 32
    for token in (
        forger.token(typ="state+jwe"),
        forger.token(typ="JWT"),
        forger.token(typ="session+JWE"),
        jwe({"alg": "dir", "enc": "A256GCM"}, forger.key, forger.claims),
        Sealer([csrf_key], "session+jwe").seal(forger.claims).decode(),
        form_token,
    ):
        assert stack.who(token) == {None}


@pytest.mark.check(26)
@pytest.mark.parametrize("plain", [b"", b"\x80", b"{}", b"\x99" + b"\x00" * 9, b"\xc1", b"\x90"])
def test_26_claims_that_are_none_open_no_session(
    stack: TlsStack, forger: Forger, plain: bytes
) -> None:
    assert stack.who(forger.token(plain)) == {None}
    assert stack.who(forger.token(forger.claims + b"\x00")) == {None}


@pytest.mark.check(28)
def test_28_a_key_seals_fewer_than_2_to_the_32_tokens_each_with_its_nonce(stack: TlsStack) -> None:
    """NIST SP 800-38D section 8.3."""
    nonces = [stack.sign_in("nonce").split(".")[2] for _ in range(20)]
    assert len(set(nonces)) == 20
    sealer = Sealer([os.urandom(32)], "session+jwe")
    sealer.sealed = SEALED_MOST - 2
    sealer.seal(b"last but one")
    with pytest.raises(ValueError, match="rotate it"):
        sealer.seal(b"one too many")


@pytest.mark.check(29)
@pytest.mark.parametrize("path", ["/doors/me", "/doors/account", "/_poruwa/session", "/venues/1"])
def test_29_whatever_bit_is_wrong_the_answer_is_the_same(
    stack: TlsStack, forger: Forger, path: str
) -> None:
    """Status, fields and body: nothing tells which part was wrong, or how (ASVS 11.2.4)."""
    token = forger.token()
    segments = token.split(".")
    wrong = ["x", f"{token}.", token[:-1], ".".join(segments[:4]), stack.token(USER, days_ago=31)]
    for at, segment in enumerate(segments):
        for place in {0, len(segment) // 2, len(segment) - 1} if segment else ():
            changed = chr(ord(segment[place]) ^ 1)
            others = [*segments[:at], segment[:place] + changed + segment[place + 1 :]]
            wrong.append(".".join([*others, *segments[at + 1 :]]))
    affinity = _affinity(stack)
    while "; hit" not in stack.get("/venues/1").headers["cache-status"]:
        pass  # the first answers of a page tell how it came into the cache
    answers = {_told(stack, path, each, affinity) for each in wrong}
    assert len(answers) == 1
    (answer,) = answers
    assert SESSION.lower() not in str(answer).lower()
    if path != "/venues/1":
        assert answer != _told(stack, path, token, affinity)


def _told(stack: TlsStack, path: str, token: str, affinity: str) -> tuple[object, ...]:
    said = {"Cookie": f"{SESSION}={token}; {affinity}"}
    response = stack.get(path, fields=said)
    fields = sorted(
        (name, _counted_off(name, value))
        for name, value in response.headers.items()
        if name not in VARYING
    )
    return response.status_code, tuple(fields), response.content


def _counted_off(name: str, value: str) -> str:
    """Return a field's value without the seconds that pass meanwhile."""
    return value.partition("ttl=")[0] if name == "cache-status" else value


def _affinity(stack: TlsStack) -> str:
    """Return a cookie with which no answer has to set one."""
    response: httpx.Response = stack.get("/doors/account")
    line: str = response.headers["set-cookie"]
    return line.partition(";")[0]
