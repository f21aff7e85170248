"""What a rendered front tier consists of, before it is written in a program's own language.

A front tier (HAProxy, nginx) terminates TLS and HTTP/2 and passes requests on to the gateway, or
straight to the pools where somebody wants to do without the gateway.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from poruwa.config.address import Address, parse_address
from poruwa.config.model import Listener, Policy, Pool, Route
from poruwa.errors import ConfigError

#: Written into a file whose gateway would take the front tier for the client.
TRUST_NOTE = (
    "# The policy trusts no proxy yet: add the address this program connects from to\n"
    "# trust.proxies, or the gateway takes it for the client."
)


class Behind(StrEnum):
    """What a front tier stands in front of."""

    GATEWAY = "gateway"
    POOLS = "pools"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontTier:
    """Where a front tier listens and what it passes requests on to.

    Args:
        http: address for plain HTTP, which redirects to https; None for no such listener.
        https: address for TLS; None for a front tier without TLS, which then serves on ``http``.
        certificate: PEM file: certificate, chain and, for HAProxy, the private key.
        certificate_key: PEM file of the private key (nginx); None where it is in ``certificate``.
        in_front_of: the gateway or the pools.
        gateways: addresses of gateways; empty for the policy's own listener on this machine.
    """

    http: str | None = ":80"
    https: str | None = ":443"
    certificate: str = "/etc/ssl/private/site.pem"
    certificate_key: str | None = None
    in_front_of: Behind = Behind.GATEWAY
    gateways: tuple[str, ...] = ()

    @property
    def https_port(self) -> str:
        """``":8443"`` for redirects to an unusual port; "" for 443."""
        port = parse_address(self.https).port if self.https else 443
        return "" if port in {0, 443} else f":{port}"


def check_front_tier(front: FrontTier) -> None:
    """Check the addresses of ``front``.

    Raises:
        ConfigError: one of them cannot be used, or there is none to listen at.
    """
    if front.http is None and front.https is None:
        raise ConfigError("The front tier listens nowhere; give --https or --http an address.")
    for option, text in (("--http", front.http), ("--https", front.https)):
        if text is not None and _address(text, option).path:
            raise ConfigError(f"{option}: {text} is a Unix socket; write host:port.")
    for text in front.gateways:
        _address(text, "--gateway")
    for option, name in (
        ("--certificate", front.certificate),
        ("--certificate-key", front.certificate_key or ""),
    ):
        if re.search(r"[\s\"';{}\\#]", name):
            raise ConfigError(f"{option}: {name!r} holds white space or a sign that ends a word.")


def choose_listener(policy: Policy, *, speaks_proxy_protocol: bool) -> Listener:
    """Return the listener of the gateway that a front tier connects to.

    One with PROXY protocol is best, where the program can send it: the address of the client then
    needs no header.

    Raises:
        ConfigError: the policy has none that the program can talk to.
    """
    plain = [listener for listener in policy.listeners if listener.tls is None]
    if speaks_proxy_protocol:
        plain.sort(key=lambda listener: not listener.proxy_protocol)
    else:
        plain = [listener for listener in plain if not listener.proxy_protocol]
    if not plain:
        raise ConfigError(
            "No listener of the gateway suits: the program sends plain HTTP"
            + ("." if speaks_proxy_protocol else " without PROXY protocol header.")
            + ' Add one, e.g. [listeners.front] address = "127.0.0.1:8000".'
        )
    return plain[0]


def gateway_addresses(front: FrontTier, listener: Listener) -> tuple[Address, ...]:
    """Return where the gateways are reached; every interface becomes loopback."""
    texts = front.gateways or (listener.address,)
    return tuple(_reachable(parse_address(text)) for text in texts)


def require_known_instances(pool: Pool) -> None:
    """Raise where a pool's addresses are not in the policy.

    Raises:
        ConfigError: `poruwa up` starts its instances and chooses their addresses, or they are
            looked up while the gateway runs.
    """
    if pool.discovery is not None:
        raise ConfigError(
            f'Pool "{pool.name}" looks its instances up, and what is written here would not follow '
            "them; render in front of the gateway, or list its instances without discovery."
        )
    if not pool.instances:
        raise ConfigError(
            f'Pool "{pool.name}" has a count and no addresses, so nothing can be written in front '
            "of it; render in front of the gateway, or list its instances."
        )


def ordered_routes(policy: Policy) -> list[Route]:
    """Return the routes, most specific first, for programs that take the first match."""

    def rank(route: Route) -> tuple[object, ...]:
        is_prefix = route.path.endswith("/*")
        segments = route.path.split("/")
        return (
            not route.hosts,
            any(host.startswith("*.") for host in route.hosts),
            is_prefix,
            "{" in route.path,
            -len(segments) if is_prefix else 0,
            tuple("{" in segment for segment in segments),
            not route.methods,
            -len(route.path),
        )

    return sorted(policy.routes, key=rank)


def path_expression(path: str, *, group: str = "") -> str:
    """Return the regular expression (PCRE) of a route's path.

    Args:
        group: what names of captures begin with; "" captures nothing.
    """
    text = ""
    for part in re.split(r"(\{[^}]*\})", path.removesuffix("/*")):
        if not part.startswith("{"):
            text += re.escape(part)
        else:
            text += f"(?<{group}{part[1:-1]}>[^/]+)" if group else "[^/]+"
    if path.endswith("/*"):
        rest = f"(?<{group}rest>.*)" if group else ".*"
        return f"^{text}(?:/{rest})?$"
    return f"^{text or '/'}$"


def methods_of(route: Route) -> tuple[str, ...]:
    """Return the methods a route takes, GET with HEAD; empty for every method."""
    if "GET" in route.methods and "HEAD" not in route.methods:
        return (*route.methods, "HEAD")
    return route.methods


def left_out(policy: Policy, *, static_folders: bool) -> list[str]:
    """Return, in words, what of the policy the rendered program will not do in front of pools."""
    notes = ["retry and hedge budgets, learned time-outs, exact load across workers"]
    if any(route.cors for route in policy.routes):
        notes.append("CORS: the application must answer preflights itself")
    if any(route.rewrite for route in policy.routes):
        notes.append("rewrites: paths are passed on as they came")
    if not static_folders and any(route.static for route in policy.routes):
        notes.append("static folders: these routes answer 503")
    if any(route.body_bytes is not None for route in policy.routes):
        notes.append("body limits of single routes: the general one counts")
    return notes


def redirect_parts(to: str) -> list[str]:
    """Return a redirect's target cut at its names: literal and ``{name}`` parts by turns."""
    return [part for part in re.split(r"(\{[^}]*\})", to) if part]


def _reachable(address: Address) -> Address:
    if address.path or address.host not in {"", "0.0.0.0", "::"}:  # noqa: S104
        return address
    return Address(host="127.0.0.1", port=address.port)


def _address(text: str, option: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}.") from error
