"""What a look for a pool's instances means: from answers of DNS or a file to a list of instances.

The control process looks (``gateway.discovery``), passes what came back through ``advance`` and
waits ``next_look_seconds``. The last good list stays whatever happens afterwards: a resolver that
is down, or a file that is being written, must not take a pool away that serves.

| a look brings                 | the list                | the reason shown                     |
|-------------------------------|-------------------------|--------------------------------------|
| instances                     | these                   | none                                 |
| none (no records, empty file) | the last good one stays | ``empty-answer``                     |
| a failure                     | the last good one stays | of the failure, and its detail       |
| more than a gateway can hold  | the last good one stays | ``too-many``                         |

Lists have one order, by address, so that the same answer in another order is no change. Sources:
RFC 1035 and RFC 2181 section 5.2 for TTLs, RFC 2782 for SRV. Asks nobody and reads no file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction

from poruwa.config.address import Address, parse_address
from poruwa.config.forms import FORMS
from poruwa.errors import ConfigError

MOST_INSTANCES = 1000
"""Of one pool; as many as ``pools.count`` allows. More is a mistake, or a name of someone else."""

HEAVIEST = 256
"""The largest weight of an instance, as for listed ones."""

SHORTEST_LOOK_SECONDS = 0.5
"""Between two looks, whatever the TTL: 0 is legal (RFC 1035 section 3.2.1) and would ask without
end. It is also the least ``refresh`` a policy may state."""

RETRY_SECONDS = 1.0
"""After a look that brought nothing: soon, since somebody may be repairing it."""


class DiscoveryProblem(Enum):
    """Why a look did not bring a list."""

    NOT_LOOKED = "not-looked-yet"
    EMPTY = "empty-answer"
    NO_SUCH_NAME = "no-such-name"
    TIMEOUT = "timeout"
    SERVER = "dns-server-failed"
    FILE_MISSING = "file-missing"
    FILE_UNREADABLE = "file-unreadable"
    FILE_INVALID = "file-invalid"
    TOO_MANY = "too-many"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInstance:
    """An instance that was found.

    Attributes:
        name: the one the file gives, else the address, as for listed instances: who comes back at
            the same address has its old name, in metrics too.
        address: ``host:port``, ``[v6]:port`` or ``unix:/path``, in one spelling.
        weight: 1 to 256.
    """

    name: str
    address: str
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecord:
    """One SRV record (RFC 2782); ``target`` without its last dot, in lower case."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one look brought.

    Attributes:
        instances: in order of address; empty where ``problem`` says why, or nothing was there.
        ttl_seconds: how long the answer is valid; None where nothing said so.
        detail: for people: of the problem, or what was left out.
    """

    instances: tuple[FoundInstance, ...] = ()
    ttl_seconds: float | None = None
    problem: DiscoveryProblem | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """What is known of a pool's instances.

    Attributes:
        instances: the last good list.
        changed_at: when it last changed, None before the first, on the clock of ``advance``.
        problem, detail: of the last look; None where it was good.
    """

    instances: tuple[FoundInstance, ...] = field(default=())
    changed_at: float | None = None
    problem: DiscoveryProblem | None = DiscoveryProblem.NOT_LOOKED
    detail: str = ""


def advance(state: Discovered, answer: Answer, now: float) -> Discovered:
    """Return what is known after one more look; a look that brought nothing changes no list."""
    problem, detail = answer.problem, answer.detail
    if problem is None and not answer.instances:
        problem = DiscoveryProblem.EMPTY
    if problem is None and len(answer.instances) > MOST_INSTANCES:
        problem = DiscoveryProblem.TOO_MANY
        detail = f"{len(answer.instances)} instances, and a pool holds {MOST_INSTANCES} at most"
    if problem is not None or answer.instances == state.instances:
        return replace(state, problem=problem, detail=detail)
    return Discovered(instances=answer.instances, changed_at=now, problem=None, detail=detail)


def next_look_seconds(answer: Answer, refresh_seconds: float) -> float:
    """Return how long to wait after ``answer``: by its TTL, at most ``refresh_seconds``."""
    if not answer.instances:
        return min(RETRY_SECONDS, refresh_seconds)
    if answer.ttl_seconds is None:
        return refresh_seconds
    return min(max(answer.ttl_seconds, SHORTEST_LOOK_SECONDS), refresh_seconds)


def beside(
    listed: Iterable[tuple[str, str]], found: Iterable[FoundInstance]
) -> tuple[FoundInstance, ...]:
    """Return those of ``found`` that come on top of ``listed``, which are (name, address).

    What is listed stays as it is listed; a name that is taken there gives way to the address.
    """
    names = set()
    addresses = set()
    for name, address in listed:
        names.add(name)
        addresses.add(_spelt(parse_address(address)))
    return tuple(
        replace(each, name=each.address) if each.name in names else each
        for each in found
        if each.address not in addresses
    )


def from_addresses(addresses: Iterable[str], port: int) -> tuple[FoundInstance, ...]:
    """Return the instances at A and AAAA ``addresses``, all of one weight."""
    places = {_spelt(Address(host=host, port=port)) for host in addresses if _is_usable(host)}
    return _in_order(FoundInstance(name=place, address=place) for place in places)


def preferred_services(records: Iterable[ServiceRecord]) -> tuple[ServiceRecord, ...]:
    """Return the records of the lowest priority number; the others are for when none answers.

    A target of ``.`` says that the service is decidedly not there (RFC 2782): no record.
    """
    offered = [each for each in records if each.target and each.port]
    lowest = min((each.priority for each in offered), default=0)
    return tuple(each for each in offered if each.priority == lowest)


def from_services(
    records: Iterable[ServiceRecord], addresses: Mapping[str, Sequence[str]]
) -> tuple[FoundInstance, ...]:
    """Return the instances of SRV ``records`` of one priority.

    Args:
        addresses: of each target. The addresses of one target share its weight; a target without
            one is left out.
    """
    shares: dict[str, Fraction] = {}
    for record in records:
        hosts = {host for host in addresses.get(record.target, ()) if _is_usable(host)}
        for host in hosts:
            place = _spelt(Address(host=host, port=record.port))
            share = Fraction(record.weight, len(hosts))
            shares[place] = shares.get(place, Fraction()) + share
    weights = scaled_weights(list(shares.values()))
    return _in_order(
        FoundInstance(name=place, address=place, weight=weight)
        for place, weight in zip(shares, weights, strict=True)
    )


def scaled_weights(shares: Sequence[Fraction]) -> list[int]:
    """Return weights of 1 to 256 in proportion to ``shares``.

    Whole shares up to 256 stay as they are. A share of 0 becomes 1: RFC 2782 wants it to have "a
    very small chance of being selected", and all are 0 where there is nothing to weigh.
    """
    heaviest = max(shares, default=Fraction())
    is_kept = heaviest <= HEAVIEST and all(share.denominator == 1 for share in shares)
    factor = Fraction(1) if is_kept or not heaviest else HEAVIEST / heaviest
    return [max(1, round(share * factor)) for share in shares]


def parse_instance_file(data: bytes, name: str) -> tuple[FoundInstance, ...]:
    """Return the instances that a file lists, one a line.

    A line is an address, then ``weight=N`` and ``name=X`` where wanted, in any order. Empty lines
    count for nothing, nor does what follows ``#`` at the start of a line or after white space.

    Args:
        data: the file's content, UTF-8.
        name: what messages call the file.

    Raises:
        ConfigError: the first line that cannot be used, with its number and what would be right.
    """
    instances: list[FoundInstance] = []
    lines_of: dict[str, int] = {}
    for number, raw in enumerate(data.split(b"\n"), start=1):
        try:
            found = _parse_line(raw)
            if found is None:
                continue
            for key in {found.address, found.name}:
                if key in lines_of:
                    raise ValueError(f"{key} is on line {lines_of[key]} already; leave one out")
                lines_of[key] = number
        except ValueError as error:
            raise ConfigError(f"{name}:{number}: {error}") from None
        instances.append(found)
    return _in_order(instances)


def _parse_line(raw: bytes) -> FoundInstance | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8; save the file as UTF-8") from None
    words = text.split()
    comment = next((index for index, word in enumerate(words) if word.startswith("#")), None)
    words = words[:comment]
    if not words:
        return None
    FORMS["upstream"].check(words[0])
    parsed = parse_address(words[0])
    address = _spelt(parsed)
    if not parsed.is_unix and address.startswith("unix:"):
        raise ValueError(
            f"{words[0]!r} would be taken for a Unix socket; write the host's whole name, or its "
            "IP address"
        )
    options: dict[str, str] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if key not in ("weight", "name") or not equals:
            raise ValueError(f"{word!r} is not known here; write weight=N or name=X")
        if key in options:
            raise ValueError(f"{key} is stated twice; leave one out")
        options[key] = value
    weight = options.get("weight", "1")
    if re.fullmatch(r"[0-9]{1,3}", weight) is None or not 1 <= int(weight) <= HEAVIEST:
        raise ValueError(f"weight={weight} is not a whole number of 1 to {HEAVIEST}")
    if "name" in options:
        FORMS["name"].check(options["name"])
    return FoundInstance(name=options.get("name", address), address=address, weight=int(weight))


def _spelt(address: Address) -> str:
    """Return the one spelling of an address: names are in lower case, without a last dot."""
    if address.is_unix:
        return str(address)
    if ":" in address.host:
        return str(replace(address, host=str(ipaddress.ip_address(address.host))))
    return str(replace(address, host=address.host.lower().rstrip(".")))


def _is_usable(host: str) -> bool:
    """Tell whether an instance can be there; filters answer 0.0.0.0, which is this machine."""
    address = ipaddress.ip_address(host)
    return not address.is_unspecified and not address.is_multicast


def _in_order(instances: Iterable[FoundInstance]) -> tuple[FoundInstance, ...]:
    return tuple(sorted(instances, key=_rank))


def _rank(found: FoundInstance) -> tuple[int, int, str, int]:
    """Return where an instance stands: IPv4, IPv6, names, Unix sockets; numbers as numbers."""
    address = parse_address(found.address)
    try:
        number = ipaddress.ip_address(address.host)
    except ValueError:
        return (8 if address.is_unix else 7, 0, str(address.path or address.host), address.port)
    return (number.version, int(number), "", address.port)
