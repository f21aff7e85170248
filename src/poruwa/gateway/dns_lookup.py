"""One look for a pool's instances in the DNS: A and AAAA of a name, or SRV and its targets.

Off every request's path: the control process looks, through dnspython, which asks over UDP and
again over TCP where an answer was cut. Servers, their time-outs and the search list are those of
``/etc/resolv.conf``, read anew for each look, unless the policy names a server of its own.

Not ``getaddrinfo``: it tells no TTL and knows no SRV. So ``/etc/hosts`` does not count here; what
stands there does not change, and can be listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from poruwa.config.address import parse_address
from poruwa.config.model import Discovery, DiscoveryKind
from poruwa.rules.discovery import (
    MOST_INSTANCES,
    Answer,
    DiscoveryProblem,
    ServiceRecord,
    from_addresses,
    from_services,
    preferred_services,
)

LOOK_SECONDS = 5.0
"""Longest time of one look with all its questions; resolv.conf's default for one question."""

# Below the whole, so that dnspython gives up first: it says which server did not answer.
_SHARE_OF_ONE_QUESTION = 0.9
_TARGETS_AT_ONCE = 16
_ADDRESS_TYPES = (dns.rdatatype.A, dns.rdatatype.AAAA)
_NOTHING_THERE = (DiscoveryProblem.EMPTY, DiscoveryProblem.NO_SUCH_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Addresses:
    """Of one name; empty with a problem where there are none."""

    hosts: tuple[str, ...] = ()
    ttl_seconds: float = 0.0
    problem: DiscoveryProblem | None = None
    detail: str = ""


async def look_up(section: Discovery, *, seconds: float = LOOK_SECONDS) -> Answer:
    """Look once, within ``seconds``. ``section.kind`` is dns or srv.

    Never raises for what servers do; cancelling closes the sockets.
    """
    try:
        async with asyncio.timeout(seconds):
            resolver = _make_resolver(section, seconds)
            if section.kind is DiscoveryKind.SRV:
                return await _find_services(resolver, section)
            return await _find_hosts(resolver, section)
    except TimeoutError:
        return Answer(problem=DiscoveryProblem.TIMEOUT, detail=f"no answer within {seconds:g} s")
    except (dns.exception.DNSException, OSError) as error:
        problem, detail = _explain(error)
        return Answer(problem=problem, detail=detail)


def _make_resolver(section: Discovery, seconds: float) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=section.resolver is None)
    if section.resolver is not None:
        server = parse_address(section.resolver)
        resolver.nameservers = [server.host]
        resolver.port = server.port
    resolver.lifetime = seconds * _SHARE_OF_ONE_QUESTION
    return resolver


async def _find_hosts(resolver: dns.asyncresolver.Resolver, section: Discovery) -> Answer:
    address = parse_address(section.source)
    found = await _addresses(resolver, address.host, is_searched=section.resolver is None)
    return Answer(
        instances=from_addresses(found.hosts, address.port),
        ttl_seconds=found.ttl_seconds,
        problem=found.problem,
        detail=found.detail,
    )


async def _find_services(resolver: dns.asyncresolver.Resolver, section: Discovery) -> Answer:
    answer = await resolver.resolve(
        section.source, dns.rdatatype.SRV, search=section.resolver is None
    )
    records = preferred_services(
        ServiceRecord(
            priority=each.priority,
            weight=each.weight,
            port=each.port,
            target=each.target.to_text(omit_final_dot=True).lower().removesuffix("."),
        )
        for each in answer
        if isinstance(each, SRV)
    )
    targets = sorted({record.target for record in records})
    if len(targets) > MOST_INSTANCES:
        return Answer(problem=DiscoveryProblem.TOO_MANY, detail=f"{len(targets)} SRV targets")
    found = await _addresses_of_targets(resolver, targets, answer.response)
    for target in targets:
        problem = found[target].problem
        if problem is not None and problem not in _NOTHING_THERE:
            return Answer(problem=problem, detail=f"of {target}: {found[target].detail}")
    missing = [target for target in targets if found[target].problem is not None]
    ttls = [each.ttl_seconds for each in found.values() if each.problem is None]
    return Answer(
        instances=from_services(records, {target: found[target].hosts for target in targets}),
        ttl_seconds=min((float(answer.chaining_result.minimum_ttl), *ttls)),
        detail=f"no address: {' '.join(missing)}" if missing else "",
    )


async def _addresses_of_targets(
    resolver: dns.asyncresolver.Resolver, targets: Sequence[str], response: dns.message.Message
) -> dict[str, _Addresses]:
    """Return the addresses of SRV targets: from the additional section, else asked for."""
    found = {target: _additional(response, target) for target in targets}
    at_once = asyncio.Semaphore(_TARGETS_AT_ONCE)

    async def ask(target: str) -> None:
        async with at_once:
            found[target] = await _addresses(resolver, target, is_searched=False)

    async with asyncio.TaskGroup() as group:
        for target in targets:
            if not found[target].hosts:
                group.create_task(ask(target))
    return found


def _additional(response: dns.message.Message, target: str) -> _Addresses:
    """Return the addresses of ``target`` that came with the SRV records (RFC 2782)."""
    name = dns.name.from_text(target)
    sets = [
        each for each in response.additional if each.name == name and each.rdtype in _ADDRESS_TYPES
    ]
    return _Addresses(
        hosts=tuple(record.address for each in sets for record in each),
        ttl_seconds=float(min((each.ttl for each in sets), default=0)),
    )


async def _addresses(
    resolver: dns.asyncresolver.Resolver, name: str, *, is_searched: bool
) -> _Addresses:
    """Ask for A and AAAA of ``name``. Half an answer is none: the other half would seem gone."""
    try:
        found = await resolver.resolve_name(name, search=is_searched)
    except (dns.exception.DNSException, OSError) as error:
        problem, detail = _explain(error)
        return _Addresses(problem=problem, detail=detail)
    return _Addresses(
        hosts=tuple(found.addresses()),
        # Of those with records: what is not there may come, but is no reason to hurry.
        ttl_seconds=float(min(each.chaining_result.minimum_ttl for each in found.values())),
    )


def _explain(error: dns.exception.DNSException | OSError) -> tuple[DiscoveryProblem, str]:
    if isinstance(error, dns.resolver.NXDOMAIN):
        return DiscoveryProblem.NO_SUCH_NAME, str(error)
    if isinstance(error, dns.resolver.NoAnswer):
        return DiscoveryProblem.EMPTY, "the name has no such records"
    if isinstance(error, dns.exception.Timeout):
        return DiscoveryProblem.TIMEOUT, str(error)
    return DiscoveryProblem.SERVER, str(error)
