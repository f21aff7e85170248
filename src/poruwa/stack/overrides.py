"""What the command line says over the policy file: addresses, workers, instances."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from poruwa.config.address import parse_address
from poruwa.config.model import Instance, Listener, Policy
from poruwa.errors import ConfigError

NO_ADDRESS = "none"  # --admin none
CONTROL_SOCKET = "control.sock"  # in the state folder of a gateway alone


def with_listen(policy: Policy, listen: Sequence[str]) -> Policy:
    """Return ``policy`` with the addresses of ``--listen``: ``[NAME=]ADDRESS``, else the first.

    A name that the policy does not have adds a plain listener.

    Raises:
        ConfigError: an address that is none.
    """
    listeners = {listener.name: listener for listener in policy.listeners}
    unnamed = iter([*listeners, *(f"http-{number}" for number in range(2, 100))])
    for text in listen:
        name, address = _split(text)
        _require_address(address, "--listen")
        name = name or next(unnamed)
        known = listeners.get(name) or Listener(name=name)
        listeners[name] = dataclasses.replace(known, address=address)
    return dataclasses.replace(policy, listeners=tuple(listeners.values()))


def with_admin(policy: Policy, admin: str | None) -> Policy:
    """Return ``policy`` with the address of ``--admin``, or without admin listener for ``none``.

    Raises:
        ConfigError: an address that is none.
    """
    if admin is None:
        return policy
    if admin == NO_ADDRESS:
        return dataclasses.replace(policy, admin=dataclasses.replace(policy.admin, address=None))
    _require_address(admin, "--admin")
    return dataclasses.replace(policy, admin=dataclasses.replace(policy.admin, address=admin))


def with_control(policy: Policy, control: Path | None, state: Path | None) -> Policy:
    """Return ``policy`` with the control socket of ``--control``, else of the folder ``state``.

    A folder that keeps changes has a socket to make them by, which the command line finds there.
    """
    if control is None and state is not None and policy.admin.socket is None:
        control = state / CONTROL_SOCKET
    if control is None:
        return policy
    admin = dataclasses.replace(policy.admin, socket=str(control.absolute()))
    return dataclasses.replace(policy, admin=admin)


def with_workers(policy: Policy, workers: int | None) -> Policy:
    """Return ``policy`` with the number of ``--workers``; 0 is one per core."""
    if workers is None:
        return policy
    gateway = dataclasses.replace(policy.gateway, workers=workers)
    return dataclasses.replace(policy, gateway=gateway)


def with_cache(policy: Policy, *, is_wanted: bool, is_alone: bool = False) -> Policy:
    """Return ``policy`` with the shared cache of ``--cache``.

    Args:
        is_alone: nobody wrote a policy, so nothing is known of the origin: a request is sent again
            once at most (RFC 9110 section 9.2.2).
    """
    if not is_wanted:
        return policy
    if is_alone:
        retry = dataclasses.replace(policy.retry, attempts=min(policy.retry.attempts, 1))
        policy = dataclasses.replace(policy, retry=retry)
    cache = dataclasses.replace(policy.cache, enabled=True, follow_origin=True)
    return dataclasses.replace(policy, cache=cache)


def with_upstreams(policy: Policy, upstreams: Sequence[str]) -> Policy:
    """Return ``policy`` with the instances of ``--upstream``: ``[POOL=]ADDRESS``.

    A pool that is named has exactly the instances named for it. The pool may be left out where the
    policy has only one. An instance that the policy knows by its address keeps name and weight.

    Raises:
        ConfigError: no such pool, or an address that is none.
    """
    given: dict[str, list[str]] = {}
    names = [pool.name for pool in policy.pools]
    for text in upstreams:
        name, address = _split(text)
        if not name and len(names) == 1:
            name = names[0]
        if name not in names:
            known = ", ".join(names) or "none"
            raise ConfigError(
                f"--upstream {text}: write POOL=ADDRESS with a pool of the policy ({known})."
            )
        _require_address(address, "--upstream")
        given.setdefault(name, []).append(address)
    pools = []
    for pool in policy.pools:
        known_instances = {instance.address: instance for instance in pool.instances}
        instances = tuple(
            known_instances.get(address) or Instance(name=f"{pool.name}.{number}", address=address)
            for number, address in enumerate(given.get(pool.name, ()), start=1)
        )
        if instances:
            pool = dataclasses.replace(pool, instances=instances, discovery=None)
        pools.append(pool)
    return dataclasses.replace(policy, pools=tuple(pools))


def _split(text: str) -> tuple[str, str]:
    """Split ``name=address``; a Unix path may hold ``=`` too, so the name must look like one."""
    name, equals, address = text.partition("=")
    if equals and name.replace("-", "").replace("_", "").isalnum():
        return name, address
    return "", text


def _require_address(text: str, option: str) -> None:
    try:
        parse_address(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}.") from error
