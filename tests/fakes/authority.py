"""Who signs the certificates of the tests, and whom the gateway of the tests trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme
from cryptography import x509

HOST = "weddinglk.test"
TRUSTED_SOURCE = "127.0.0.9"  # the loopback address that stands for a front tier


class Authority:
    """A certificate authority of the tests, and the files a listener reads."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.pem = self._authority.cert_pem.bytes().decode()
        self.certificate_path = folder / "server.pem"
        self.key_path = folder / "server.key"
        self.issue()
        self.context = ssl.create_default_context()
        self._authority.configure_trust(self.context)
        self.context.set_alpn_protocols(["h2", "http/1.1"])

    def issue(self) -> int:
        """Write a new certificate and key; return its serial number."""
        issued = self._authority.issue_cert(HOST, "127.0.0.1")
        self.key_path.write_bytes(issued.private_key_pem.bytes())
        self.certificate_path.write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number
