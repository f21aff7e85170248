"""The two policies of WeddingLK carry the seed's values, and survive writing and sending (H2)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from poruwa.config.load import default_policy, parse_policy, read_policy
from poruwa.config.model import (
    BalancingMethod,
    CdnProvider,
    Policy,
    SameSite,
    StoreMode,
    Strategy,
)
from poruwa.config.reference import render_reference
from poruwa.config.show import dump_policy, policy_tree, staleness_bounds
from poruwa.config.wire import decode_policy, encode_policy

_ROOT = Path(__file__).parents[4]
_SITE = _ROOT / "src" / "weddinglk" / "site.toml"
_PRODUCTION = _ROOT / "src" / "weddinglk" / "site.production.toml"
_HOUR = 3600.0
_DAY = 24 * _HOUR
_KEYS = "k" * 40


def policy_of(path: Path, environ: dict[str, str] | None = None) -> Policy:
    return parse_policy(path.read_text(), path.name, environ=environ)


@pytest.fixture(params=[_SITE, _PRODUCTION], ids=["site", "production"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return policy_of(request.param)


def test_site_toml_has_neither_problems_nor_warnings() -> None:
    reading = read_policy(_SITE.read_text(), "site.toml")
    assert reading.problems == ()
    assert reading.warnings == ()


def test_production_is_good_but_for_the_seeds_spelling() -> None:
    """H2: it passes `poruwa config check`, which notes `least_conn`."""
    reading = read_policy(_PRODUCTION.read_text(), "site.production.toml")
    assert reading.problems == ()
    assert ["least_conn" in warning.text for warning in reading.warnings] == [True]


def test_production_carries_the_seeds_hosts_and_ports() -> None:
    """H2, A1, A6, A7: application, cache and database tiers."""
    policy = policy_of(_PRODUCTION)
    addresses = [instance.address for instance in policy.pool_named("app").instances]
    assert addresses == [f"app{number}.weddinglk.com:3000" for number in (1, 2, 3)]
    cache = policy.stores.cache
    assert cache.mode is StoreMode.CLUSTER
    assert cache.nodes == tuple(f"redis{number}.weddinglk.com:6379" for number in (1, 2, 3))
    assert cache.password is not None
    assert (cache.password.source, cache.database, cache.ready_check) == (
        "env:REDIS_PASSWORD",
        0,
        True,
    )
    database = policy.database
    assert database.primary == "write.weddinglk.com:27017"
    assert database.replicas == tuple(f"read{number}.weddinglk.com:27017" for number in (1, 2, 3))
    assert (database.reads, database.writes, database.failover) == (
        "round-robin",
        "primary-only",
        "automatic",
    )
    cdn = policy.cdn
    assert cdn.provider is CdnProvider.CLOUDFLARE
    assert (cdn.domains.static, cdn.domains.images, cdn.domains.api) == (
        "cdn.weddinglk.com",
        "images.weddinglk.com",
        "api.weddinglk.com",
    )
    assert all((cdn.compression, cdn.minification, cdn.image_optimization, cdn.http2))


def test_the_given_values_of_balancing(policy: Policy) -> None:
    """A2-A4: least_conn, 30 s, 5 s, 3 tries, the affinity cookie."""
    pool = policy.pool_named("app")
    assert pool.method is BalancingMethod.LEAST_CONNECTIONS
    health = pool.health
    assert (health.interval_seconds, health.timeout_seconds, health.fall) == (30, 5, 3)
    assert pool.affinity is not None
    assert pool.affinity.cookie == "WEDDINGLK_SESSION"
    assert pool.count == 3 or len(pool.instances) == 3


def test_the_given_lifetimes(policy: Policy) -> None:
    """B1-B5: every figure of the seed's caching layers."""
    classes = {each.name: each for each in policy.classes}
    life = {name: each.lifetimes for name, each in classes.items()}
    assert life["static"].browser_seconds == 365 * _DAY
    assert life["api"].browser_seconds == 5 * 60
    assert life["user"].browser_seconds == _HOUR
    assert life["image"].cdn_seconds == 30 * _DAY
    assert life["static"].cdn_seconds == 365 * _DAY
    assert life["file"].cdn_seconds == 7 * _DAY
    assert life["api"].cdn_seconds == _HOUR
    assert life["session"].application_seconds == 24 * _HOUR
    assert life["venue"].application_seconds == _HOUR
    assert life["vendor"].application_seconds == _HOUR / 2
    assert life["search"].application_seconds == _HOUR / 4
    assert {each.query_seconds for each in life.values()} == {None, 300.0}
    assert policy.database.index_metadata_seconds == _HOUR
    strategies = {name: classes[name].strategy for name in ("session", "venue", "vendor", "search")}
    assert strategies == {
        "session": Strategy.WRITE_THROUGH,
        "venue": Strategy.WRITE_BEHIND,
        "vendor": Strategy.CACHE_ASIDE,
        "search": Strategy.CACHE_ASIDE,
    }


def test_the_given_values_of_sessions_and_headers(policy: Policy) -> None:
    """D2, D4, D7: sessions, CSRF, headers."""
    session = policy.session
    assert (session.cookie, session.same_site) == ("weddinglk.session-token", SameSite.LAX)
    assert (session.max_age_seconds, session.renew_before_seconds) == (30 * _DAY, 7 * _DAY)
    assert (session.update_every_seconds, session.rolling) == (_DAY, True)
    assert (policy.csrf.enabled, policy.csrf.token_length, policy.csrf.rotation_seconds) == (
        True,
        32,
        _HOUR,
    )
    headers = policy.headers
    assert headers.hsts is not None
    assert (headers.hsts.max_age_seconds, headers.hsts.include_subdomains) == (365 * _DAY, True)
    assert headers.content_type_options == "nosniff"
    assert headers.frame_options == "DENY"
    assert headers.xss_protection == "0"
    assert headers.referrer_policy == "strict-origin-when-cross-origin"


def test_the_given_targets(policy: Policy) -> None:
    """E2."""
    targets = policy.targets
    assert (targets.cached_response_seconds, targets.hit_ratio, targets.availability) == (
        0.2,
        0.9,
        0.999,
    )


def test_production_has_the_classes_and_routes_of_site_toml() -> None:
    """What is tried on one machine is what runs in production."""
    site, production = (tomllib.loads(path.read_text()) for path in (_SITE, _PRODUCTION))
    for section in ("classes", "dimensions", "routes", "csrf", "headers"):
        assert site[section] == production[section], section


def test_what_show_writes_means_the_same(policy: Policy) -> None:
    """`config show` leaves nothing out and adds nothing."""
    assert parse_policy(dump_policy(policy), "shown.toml") == policy


def test_show_never_reveals_a_secret() -> None:
    policy = policy_of(_SITE, {"PORUWA_AFFINITY_KEYS": _KEYS, "PORUWA_SESSION_KEYS": _KEYS})
    assert _KEYS not in dump_policy(policy)
    assert _KEYS not in str(policy_tree(policy))
    assert _KEYS not in repr(policy)


def test_workers_receive_the_policy_with_its_secrets() -> None:
    policy = policy_of(_SITE, {"PORUWA_AFFINITY_KEYS": _KEYS, "PORUWA_SESSION_KEYS": _KEYS})
    received = decode_policy(encode_policy(policy))
    assert received == policy
    affinity = received.pool_named("app").affinity
    assert affinity is not None
    assert affinity.keys is not None
    assert affinity.keys.reveal() == _KEYS


@pytest.mark.parametrize("admin", [None, "127.0.0.1:0"])
def test_a_policy_without_file_can_be_sent_and_shown(admin: str | None) -> None:
    policy = default_policy(upstreams=("127.0.0.1:3000",), admin=admin)
    assert decode_policy(encode_policy(policy)) == policy
    assert parse_policy(dump_policy(policy), "shown.toml") == policy


def test_bounds_of_staleness_follow_from_lifetimes() -> None:
    """G1, G2: what config show prints per class."""
    site: dict[str, Any] = {each.data_class: each for each in staleness_bounds(policy_of(_SITE))}
    production: dict[str, Any] = {
        each.data_class: each for each in staleness_bounds(policy_of(_PRODUCTION))
    }
    assert site["venue"].after_change_seconds == 0.5
    assert site["venue"].cdn_seconds is None
    assert production["venue"].cdn_seconds == _HOUR
    assert site["api"].browser_seconds == 300.0
    assert site["static"].after_change_seconds is None
    assert site["booking"].without_event_seconds == 0.0
    # One hour at the gateway, one in Valkey, a minute in memory, five in queries, ten while stale.
    assert site["venue"].without_event_seconds == 2 * _HOUR + 16 * 60


def test_the_page_on_configuration_is_up_to_date() -> None:
    """docs/configuration.md is written by `python -m poruwa.config.reference`."""
    page = _ROOT / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == render_reference()
