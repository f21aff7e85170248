"""``People``: what a platform knows of people, from its policy: sessions, cookies, keys.

Made with the platform, attached to stores while it runs (``running``), put before an app by
``install``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from starlette.applications import Starlette

from poruwa.app.security.cookies import cookie_forms, session_form
from poruwa.app.security.devices import Device, Devices
from poruwa.app.security.key_source import SessionKeys, key_reader, passing_ring
from poruwa.app.security.middleware import SecurityMiddleware
from poruwa.app.security.revocations import IsSure, Revocations, Run
from poruwa.app.security.route_rules import RouteRules
from poruwa.app.security.session_page import Badges, SessionPage, no_badges
from poruwa.app.security.sessions import Sessions
from poruwa.config.model import Policy
from poruwa.errors import ConfigError
from poruwa.rules.change import Change
from poruwa.rules.forwarding import UNIX_PEER
from poruwa.rules.session import SessionRules

_PREPARE_SECONDS: Final = 5.0

_logger = logging.getLogger("poruwa.app")

KeepDevice = Callable[[str, Device | None], Awaitable[object]]


class People:
    """Sessions and cookies of one policy.

    Args:
        policy: as the platform has it.
        environ: where the session keys are looked up.
        folder: where the policy's relative paths start.
        is_alone: the process shares nothing with others; without keys it makes up some, which end
            with it.

    Attributes:
        sessions: None where the policy names no ``session.keys``.
        cookies: forms by name, of ``[cookies.named]``.

    Raises:
        ConfigError: keys or cookies cannot be used.
    """

    def __init__(
        self, policy: Policy, *, environ: Mapping[str, str], folder: Path, is_alone: bool
    ) -> None:
        self._policy = policy
        self.cookies = cookie_forms(policy)
        self.sessions: Sessions | None = None
        keys = _session_keys(policy, environ, folder, is_alone=is_alone)
        if keys is not None:
            rules = SessionRules.of(policy.session, policy.site.name)
            self.sessions = Sessions(rules, keys, session_form(policy), Revocations())

    def apply(self, change: Change) -> None:
        """Take over what a change of the log says of revocations and keys."""
        if self.sessions is not None:
            self.sessions.revocations.apply(change)
            self.sessions.keys.apply(change)

    def install_page(self, app: Starlette, badges: Badges | None) -> None:
        """Answer for ``/_poruwa/session``; to stand within what waits for one's own writes."""
        if self.sessions is not None:
            app.add_middleware(SessionPage, badges=badges or no_badges)

    def install(self, app: Starlette, *, has_gateway: bool) -> None:
        """Put the middleware before the app, outermost.

        Args:
            has_gateway: as for ``Platform.install``. It reaches its instances by Unix sockets.
        """
        csrf, proxies = self._policy.csrf, self._policy.trust.proxies
        app.add_middleware(
            SecurityMiddleware,
            sessions=self.sessions if self._policy.session.validate else None,
            is_csrf_checked=csrf.enabled,
            token_header=csrf.header,
            token_field=csrf.field_name,
            routes=RouteRules(self._policy, has_gateway=has_gateway),
            proxies=(*proxies, UNIX_PEER) if has_gateway else proxies,
        )

    def stats(self) -> dict[str, Any] | None:
        """Return what was refused and is held; None without sessions."""
        if self.sessions is None:
            return None
        revocations = self.sessions.revocations
        return {
            "refused": dict(self.sessions.refused),
            "revocations": len(revocations),
            "asked_database": revocations.asked,
        }

    @asynccontextmanager
    async def running(
        self,
        database: AsyncDatabase[dict[str, Any]],
        *,
        is_sure: IsSure | None,
        run: Run | None,
        keep: KeepDevice | None,
    ) -> AsyncIterator[None]:
        """Share revocations and records of sessions with everybody who uses this database.

        Args:
            is_sure, run: as for ``Revocations.connect``.
            keep: write-through of records.
        """
        sessions = self.sessions
        if sessions is None:
            yield
            return
        sessions.revocations.connect(database, is_sure=is_sure, run=run)
        sessions.devices = Devices(database, keep)
        tasks = [
            asyncio.create_task(sessions.revocations.follow(), name="revocations"),
            asyncio.create_task(_prepare(sessions.devices), name="devices"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _session_keys(
    policy: Policy, environ: Mapping[str, str], folder: Path, *, is_alone: bool
) -> SessionKeys | None:
    if policy.session.keys is None:
        return None
    try:
        return SessionKeys(key_reader(policy.session.keys.source, environ, folder), policy.csrf)
    except ConfigError as error:
        if not is_alone:
            raise
        _logger.warning("%s. Sessions end with this process.", error.message)
        return SessionKeys(passing_ring(), policy.csrf)


async def _prepare(devices: Devices) -> None:
    while True:
        try:
            await devices.prepare()
        except PyMongoError as error:
            _logger.info("the indexes of sessions are not made yet: %s", error)
            await asyncio.sleep(_PREPARE_SECONDS)
        else:
            return
