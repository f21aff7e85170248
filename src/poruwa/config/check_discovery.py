"""Contradictions in how a pool looks its instances up. Nothing is looked up here."""

from __future__ import annotations

import re
from collections.abc import Callable

from poruwa.config.address import parse_address
from poruwa.config.model import BalancingMethod, DiscoveryKind, Pool
from poruwa.config.positions import Path
from poruwa.config.problems import Findings

_HOST_SOURCE = 'write e.g. "app.internal:3000"'
# Host names and, with underscores, names of services (RFC 2782); the last label is no number.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?![0-9]+\.?\Z){_LABEL}\.?")


def check_discovery(pool: Pool, path: Path, findings: Findings) -> None:
    """Check how a pool looks its instances up: the source by its kind, and what stands beside."""
    discovery = pool.discovery
    if discovery is None:
        return
    if pool.count:
        findings.refuse(
            (*path, "count"),
            "`poruwa up` knows the instances it starts, nothing is to be looked up; leave count "
            "out, or discovery",
        )
    try:
        _SOURCE_CHECKS[discovery.kind](discovery.source)
    except ValueError as error:
        findings.refuse((*path, "discovery", "source"), str(error))
    if discovery.kind is DiscoveryKind.FILE:
        if discovery.resolver is not None:
            findings.refuse(
                (*path, "discovery", "resolver"),
                'no DNS server is asked for a file; drop it, or write kind = "dns" or "srv"',
            )
        if findings.positions.is_written((*path, "discovery", "refresh")):
            findings.warn(
                (*path, "discovery", "refresh"),
                "does nothing here: a file is looked at twice a second",
            )
    if discovery.kind is DiscoveryKind.SRV and pool.method is BalancingMethod.ROUND_ROBIN:
        findings.warn(
            (*path, "method"),
            'round-robin ignores the weights of SRV records; "weighted-round-robin" heeds them',
        )


def _check_host_source(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a name and port; {_HOST_SOURCE}") from None
    if address.is_unix or not address.port or not address.host:
        raise ValueError(f"{text!r} is not a name and port; {_HOST_SOURCE}")
    if _DNS_NAME.fullmatch(address.host) is None or address.host.lower() == "localhost":
        raise ValueError(
            f"{text!r} is not looked up in the DNS; write it in the list, instances = [{text!r}]"
        )


def _check_service_source(text: str) -> None:
    name, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and _DNS_NAME.fullmatch(name):
        raise ValueError(
            f'{text!r} has a port, which SRV records state themselves; write "{name}", or '
            'kind = "dns"'
        )
    if _DNS_NAME.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} is not the name of SRV records; write e.g. "
            '"_http._tcp.app.internal" or "app.service.consul"'
        )


def _check_file_source(text: str) -> None:
    if not text or "\0" in text:
        raise ValueError(f'{text!r} is not the path of a file; write e.g. "instances.txt"')


_SOURCE_CHECKS: dict[DiscoveryKind, Callable[[str], None]] = {
    DiscoveryKind.DNS: _check_host_source,
    DiscoveryKind.SRV: _check_service_source,
    DiscoveryKind.FILE: _check_file_source,
}
