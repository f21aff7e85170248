"""TLS of a listener: a context whose certificate can change while it is in use.

The listener is given ``context`` once. Certificates are renewed as files; ``reload_if_changed``,
called every few seconds, loads a changed pair into a context of its own and only then puts it to
use, so that half-written or mismatched files change nothing. Connections that are open keep theirs.

Source: RFC 9325 (recommendations for TLS), RFC 7301 (ALPN). HTTP/2 is the front tier's business.
"""

from __future__ import annotations

import os
import ssl
from datetime import datetime

from cryptography import x509

from poruwa.errors import ConfigError

ALPN_PROTOCOLS = ["http/1.1"]
# Forward secrecy and authenticated encryption only; what RFC 9325 section 4.2 recommends. TLS 1.3
# has suites of its own, all of them sound.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
MINIMUM_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class ServerTls:
    """A certificate and key in two PEM files, and the context made of them.

    Args:
        certificate: path of the certificate and its chain, leaf first.
        key: path of the private key, not encrypted.
        minimum_version: ``"1.2"`` or ``"1.3"``.

    Raises:
        ConfigError: a file is missing or unreadable, or the two do not belong together.
    """

    __slots__ = ("_certificate", "_current", "_key", "_minimum", "_stamps", "context", "expires_at")

    def __init__(self, certificate: str, key: str, minimum_version: str = "1.2") -> None:
        if minimum_version not in MINIMUM_VERSIONS:
            raise ConfigError(
                f'TLS version {minimum_version!r} is not offered: write "1.2" or "1.3".'
            )
        self._certificate = certificate
        self._key = key
        self._minimum = MINIMUM_VERSIONS[minimum_version]
        self._stamps = self._stamp()
        self._current = self._loaded()
        self.expires_at = _expiry(certificate)
        # The listener keeps this context for good; the callback hands each handshake the newest.
        self.context = self._loaded()
        self.context.sni_callback = self._use_current

    def reload_if_changed(self) -> bool:
        """Load the files again if they changed; return whether a new certificate is in use.

        Raises:
            ConfigError: they changed to something unusable. The old pair stays in use, and the same
                files are not tried again until they change once more.
        """
        stamps = self._stamp()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        fresh = self._loaded()
        self.expires_at = _expiry(self._certificate)
        self._current = fresh
        return True

    def _use_current(
        self, connection: ssl.SSLObject | ssl.SSLSocket, server_name: str | None, _: ssl.SSLContext
    ) -> None:
        # Called in every handshake, also for a client that sends no name.
        connection.context = self._current

    def _stamp(self) -> tuple[tuple[int, ...] | None, ...]:
        return _file_stamp(self._certificate), _file_stamp(self._key)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(ALPN_PROTOCOLS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        for path in (self._certificate, self._key):
            if not os.access(path, os.R_OK):
                raise ConfigError(
                    f"The TLS file {path} is missing or not readable for this user: "
                    "check the path and its permissions."
                )
        try:
            # A password callback keeps OpenSSL from asking on the terminal for an encrypted key.
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigError(
                f"{self._certificate} and {self._key} are not a PEM certificate and its "
                f"unencrypted key: {error}."
            ) from error
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _file_stamp(path: str) -> tuple[int, ...] | None:
    """Return what changes when a file is rewritten or replaced; symbolic links are followed."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_dev


def _expiry(certificate: str) -> datetime | None:
    """Return when the leaf certificate ends, for the metrics and a warning in good time.

    None for a certificate that OpenSSL takes and the stricter parser does not.
    """
    try:
        with open(certificate, "rb") as file:
            return x509.load_pem_x509_certificate(file.read()).not_valid_after_utc
    except (OSError, ValueError):
        return None
