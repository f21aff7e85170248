"""``LoadBalancer``: the balancer's rules for a program that has a list of instances and no gateway.

Usable alone: no policy file, no process of its own. The methods are those of the gateway
(``poruwa.rules.balancing``); a health check connects to every instance, or asks it for a path.
What the gateway adds (retries, passive health, affinity, a view shared by workers) is not here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from poruwa.config.address import Address, parse_address
from poruwa.config.model import METHOD_SPELLINGS, BalancingMethod
from poruwa.errors import ConfigError
from poruwa.rules.balancing import least_connections, round_robin, smooth_weighted
from poruwa.rules.health import is_expected_status

_STATUS_LINE_LIMIT_BYTES = 4096
_METHODS = (
    BalancingMethod.ROUND_ROBIN,
    BalancingMethod.WEIGHTED_ROUND_ROBIN,
    BalancingMethod.LEAST_CONNECTIONS,
)


class LoadBalancer:
    """Spreads work over instances; those that failed the last health check are passed over.

    Args:
        instances: ``"host:port"`` or ``"unix:/path"`` each, with or without ``http://``.
        method: ``"round-robin"``, ``"weighted-round-robin"`` or ``"least-connections"`` (or in the
            spelling ``"least_conn"``).
        weights: shares, one per instance, 1 to 256; equal by default.
        health_path: path that a healthy instance answers with 2xx; None only connects.
        timeout_seconds: of one instance's check.

    Not thread-safe: one event loop, one balancer.

    Raises:
        ConfigError: no instances, one that is not an address, weights that do not fit.
    """

    def __init__(
        self,
        instances: Sequence[str],
        *,
        method: str = "round-robin",
        weights: Sequence[int] | None = None,
        health_path: str | None = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._instances = tuple(instances)
        self._addresses = tuple(_address(instance) for instance in self._instances)
        self._weights = tuple(weights) if weights is not None else (1,) * len(self._instances)
        self._method = _method(method)
        self._health_path = health_path
        self._timeout_seconds = timeout_seconds
        self._in_use = dict.fromkeys(self._instances, 0)
        self._is_healthy = [True] * len(self._instances)
        self._turn = -1
        if not self._instances or len(self._in_use) != len(self._instances):
            raise ConfigError("A load balancer needs at least one instance, and each only once.")
        if len(self._weights) != len(self._instances) or not all(
            1 <= weight <= 256 for weight in self._weights
        ):
            raise ConfigError("Give one weight from 1 to 256 for each instance.")
        if health_path is not None and not _is_plain_path(health_path):
            raise ConfigError(f"The health path {health_path!r} is not a path such as /healthz.")

    @property
    def instances(self) -> tuple[str, ...]:
        """All instances, as given."""
        return self._instances

    def get_next_instance(self) -> str:
        """Return the instance for the next piece of work.

        If all failed their last check, all are tried: a wrong verdict must not stop everything.
        """
        eligible = [index for index, healthy in enumerate(self._is_healthy) if healthy]
        if not eligible:
            eligible = list(range(len(self._instances)))
        self._turn += 1
        weights = tuple([self._weights[index] for index in eligible])
        if self._method is BalancingMethod.ROUND_ROBIN:
            chosen = round_robin(len(eligible), self._turn)
        elif self._method is BalancingMethod.WEIGHTED_ROUND_ROBIN:
            chosen = smooth_weighted(weights, self._turn)
        else:
            in_use = [self._in_use[self._instances[index]] for index in eligible]
            chosen = least_connections(weights, in_use, self._turn)
        return self._instances[eligible[chosen]]

    @contextlib.contextmanager
    def next_instance(self) -> Iterator[str]:
        """Lend the next instance for a ``with`` block: what least-connections counts."""
        instance = self.get_next_instance()
        self._in_use[instance] += 1
        try:
            yield instance
        finally:
            self._in_use[instance] -= 1

    async def health_check(self) -> list[bool]:
        """Check all instances at once; return whether each is healthy, in their order.

        Takes at most ``timeout_seconds``. The verdicts hold until the next call. Cancelling closes
        the connections and leaves the former verdicts.
        """
        async with asyncio.TaskGroup() as group:
            checks = [group.create_task(self._check(address)) for address in self._addresses]
        self._is_healthy = [check.result() for check in checks]
        return list(self._is_healthy)

    async def _check(self, address: Address) -> bool:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await _answers(address, self._health_path)
        except (OSError, EOFError, ValueError):  # TimeoutError is an OSError
            return False


async def _answers(address: Address, path: str | None) -> bool:
    if address.is_unix:
        reader, writer = await asyncio.open_unix_connection(
            address.path, limit=_STATUS_LINE_LIMIT_BYTES
        )
    else:
        reader, writer = await asyncio.open_connection(
            address.host, address.port, limit=_STATUS_LINE_LIMIT_BYTES
        )
    try:
        if path is None:
            return True
        host = "localhost" if address.is_unix else str(address)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: poruwa-health\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        return is_expected_status(await _final_status(reader), ("2xx",))
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _final_status(reader: asyncio.StreamReader) -> int:
    """Return the status of the final response. Raises ValueError if it is not HTTP/1."""
    while True:
        version, _, rest = (await reader.readline()).partition(b" ")
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not rest[:3].isdigit():
            raise ValueError("not an HTTP/1 status line")
        status = int(rest[:3])
        if status >= 200:
            return status
        while await reader.readline() not in (b"\r\n", b"\n", b""):
            pass


def _address(instance: str) -> Address:
    text = instance.removeprefix("http://").rstrip("/") if "://" in instance else instance
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ConfigError(f"Instance {instance!r} cannot be used: {error}.") from error
    if not address.is_unix and (not address.host or not address.port):
        raise ConfigError(f"Instance {instance!r} needs a host and a port.")
    return address


def _method(name: str) -> BalancingMethod:
    try:
        method = METHOD_SPELLINGS.get(name) or BalancingMethod(name)
    except ValueError:
        method = None
    if method not in _METHODS:
        raise ConfigError(
            f"Balancing method {name!r} is not one of {', '.join(each.value for each in _METHODS)}."
        )
    return method


def _is_plain_path(path: str) -> bool:
    return path.startswith("/") and path.isascii() and path.isprintable() and " " not in path
