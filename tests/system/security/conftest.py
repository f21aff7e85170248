"""The TLS stack that all security checks share, and what they say of any of its responses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.tls_stack import TlsStack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsStack]:
    """One for the whole run: who breaks a part of it mends it."""
    with running_stack(tmp_path_factory.mktemp("tls")) as running:
        yield running
