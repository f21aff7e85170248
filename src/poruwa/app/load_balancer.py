"""``LoadBalancer``: the balancer's rules for a program that has a list of instances and no gateway.

Usable alone: no policy file, no process of its own. Methods, checks and passive health are those of
the gateway (``poruwa.rules``), for one process: a view shared by several is the gateway's. Sends
nothing itself but health checks; for HTTP, ``poruwa.BalancedTransport`` does the sending, with
retries and hedges.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from random import random as random_float

from poruwa.app.instance import Instance, InstanceStatus
from poruwa.app.instance_pool import HASH_METHODS, InstancePool
from poruwa.app.lease import Lease
from poruwa.app.ranges import check_ranges
from poruwa.clock import Clock, SystemClock
from poruwa.config.address import Address, parse_address
from poruwa.config.model import METHOD_SPELLINGS, BalancingMethod, Health, HealthKind
from poruwa.errors import ConfigError
from poruwa.net.health_check import check_instance
from poruwa.rules.health import next_check_delay

DEFAULT_CHECK_SECONDS = 5.0


class LoadBalancer:
    """Spreads work over instances and keeps it away from those that fail.

    What fails is learned from the work itself: instances whose work fails get less of it, and are
    ejected for a while after ``health.ejection.failures`` in a row. ``health_check()`` asks all of
    them at once; inside ``async with balancer:`` that goes on in the background::

        async with poruwa.LoadBalancer(["10.0.0.1:80", "10.0.0.2:80"], health_path="/healthz") as b:
            with b.lease() as lease:
                reply = await ask(lease.instance)   # an exception is a failure of the instance
                if reply.status >= 500:
                    lease.failed(f"status {reply.status}")

    Args:
        instances: ``"host:port"`` or ``"unix:/path"`` each, with or without ``http://``.
        method: ``"round-robin"``, ``"weighted-round-robin"``, ``"least-connections"`` (also in the
            spelling ``"least_conn"``), ``"power-of-two"``, ``"peak-ewma"``, or by a key
            ``"consistent-hash"`` (no instance above 1.25 times its share) or ``"sticky-hash"``.
        weights: shares, one per instance, 1 to 256; equal by default.
        health_path: path that a healthy instance answers with 2xx; None only connects.
        timeout_seconds: of one instance's check, 5 by default.
        health: checks and ejection in full, instead of the two above; the fields, ranges and
            defaults of a policy's ``[pools.NAME.health]``.
        clock, random: for tests.

    Not thread-safe: one event loop, one balancer.

    Raises:
        ConfigError: no instances, one that is not an address, weights that do not fit, settings
            outside their ranges.
    """

    def __init__(
        self,
        instances: Sequence[str],
        *,
        method: str = "round-robin",
        weights: Sequence[int] | None = None,
        health_path: str | None = None,
        timeout_seconds: float | None = None,
        health: Health | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random_float,
    ) -> None:
        if isinstance(instances, str):
            raise ConfigError(f'Give a list of instances, ["{instances}"], not one text.')
        if not instances or len(set(instances)) != len(instances):
            raise ConfigError("A load balancer needs at least one instance, and each only once.")
        shares = tuple(weights) if weights is not None else (1,) * len(instances)
        if len(shares) != len(instances) or not all(1 <= weight <= 256 for weight in shares):
            raise ConfigError("Give one weight from 1 to 256 for each instance.")
        self._method = _method(method)
        self._health = _health(health, health_path, timeout_seconds)
        self._random = random
        self._checks: asyncio.Task[None] | None = None
        self._pool = InstancePool(
            [
                Instance(name, _address(name), weight)
                for name, weight in zip(instances, shares, strict=True)
            ],
            method=self._method,
            health=self._health,
            clock=clock or SystemClock(),
            random=random,
        )

    @property
    def instances(self) -> tuple[str, ...]:
        """All instances, as given."""
        return tuple(each.name for each in self._pool.instances)

    @property
    def addresses(self) -> dict[str, Address]:
        """Where each instance listens, by its name as given."""
        return {each.name: each.address for each in self._pool.instances}

    @property
    def needs_key(self) -> bool:
        """Whether the method chooses by a key."""
        return self._method in HASH_METHODS

    @property
    def is_panic(self) -> bool:
        """Whether so few instances are healthy that health is ignored and all get work."""
        return self._pool.is_panic

    def get_next_instance(self, key: str | bytes | None = None) -> str:
        """Return the instance for the next piece of work, of which nothing will be heard again.

        If none is healthy, all are tried: a wrong verdict must not stop everything.

        Raises:
            ConfigError: a hash method and no ``key``.
        """
        return self._pool.choose(key=self._key(key)).name

    def lease(
        self, key: str | bytes | None = None, *, avoid: Collection[str] = (), probe: bool = True
    ) -> Lease:
        """Lend the instance for the next piece of work; see ``Lease`` for reporting its outcome.

        Args:
            key: what the hash methods hash: equal keys get the same instance.
            avoid: instances to pass over while anybody else is left, such as those already tried.
            probe: whether this work may be what shows if an ejected instance serves again; False
                for work that cannot be done a second time.

        Raises:
            ConfigError: a hash method and no ``key``.
        """
        chosen = self._pool.choose(key=self._key(key), avoid=avoid, probe=probe)
        return Lease(self._pool, chosen)

    @contextlib.contextmanager
    def next_instance(self, key: str | bytes | None = None) -> Iterator[str]:
        """Lend the next instance for a ``with`` block; an exception in it is its failure."""
        with self.lease(key) as lease:
            yield lease.instance

    def status(self) -> tuple[InstanceStatus, ...]:
        """Return what is known of each instance now, in their order."""
        return self._pool.status()

    async def health_check(self) -> list[bool]:
        """Check all instances at once; return whether each is healthy, in their order.

        Takes at most the check's time-out. One check decides; the verdicts hold until the next one.
        Cancelling closes the connections and leaves the former verdicts.
        """
        async with asyncio.TaskGroup() as group:
            checks = [
                group.create_task(check_instance(str(each.address), self._health))
                for each in self._pool.instances
            ]
        for instance, check in zip(self._pool.instances, checks, strict=True):
            self._pool.checked(instance, check.result(), at_once=True)
        return [check.result().ok for check in checks]

    async def __aenter__(self) -> LoadBalancer:
        """Begin to check in the background, unless ``health.enabled`` is off.

        Does not wait for the first results: until then all instances get work.
        """
        if self._checks is not None:
            raise RuntimeError("this balancer is already checking; enter it once")
        if self._health.enabled:
            self._checks = asyncio.create_task(self._check_all(), name="poruwa-health-checks")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop checking and close the connections of checks under way. Verdicts stay."""
        checks, self._checks = self._checks, None
        if checks is None:
            return
        checks.cancel()
        await asyncio.wait((checks,))
        if not checks.cancelled():
            checks.result()  # it ended by itself, which is an error to be seen

    async def _check_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for instance in self._pool.instances:
                group.create_task(self._check_again_and_again(instance))

    async def _check_again_and_again(self, instance: Instance) -> None:
        while True:
            await asyncio.sleep(next_check_delay(instance.health, self._health, self._random))
            result = await check_instance(str(instance.address), self._health)
            self._pool.checked(instance, result, at_once=False)

    def _key(self, key: str | bytes | None) -> bytes | None:
        if key is None and self.needs_key:
            raise ConfigError(
                f"Balancing method {self._method.value!r} chooses by a key; give key=..., such as "
                "the user's id."
            )
        return key.encode() if isinstance(key, str) else key


def _health(
    health: Health | None, health_path: str | None, timeout_seconds: float | None
) -> Health:
    if health is None:
        health = Health(
            kind=HealthKind.TCP if health_path is None else HealthKind.HTTP,
            path=health_path or "/",
            expect_status=("2xx",),
            timeout_seconds=DEFAULT_CHECK_SECONDS if timeout_seconds is None else timeout_seconds,
        )
    elif health_path is not None or timeout_seconds is not None:
        raise ConfigError(
            "Give either health, or health_path and timeout_seconds: Health has both, as path and "
            "timeout_seconds."
        )
    check_ranges(health)
    return health


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
        return METHOD_SPELLINGS.get(name) or BalancingMethod(name)
    except ValueError:
        known = ", ".join(each.value for each in BalancingMethod)
        raise ConfigError(f"Balancing method {name!r} is not one of {known}.") from None
