"""Sessions on three instances, over the real database and the real bus.

Numbers in names are those of the security checks (SECURITY-CHECKS).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from fakes.database_process import DatabaseProcess
from fakes.session_site import NAME, POLICY, URL_VARIABLE, SessionInstance, token_of
from fakes.valkey_process import BUS, CACHE, ValkeyProcess
from poruwa.app.security.devices import handle_of
from poruwa.app.security.key_source import SessionKeys
from poruwa.config.model import Coherence
from poruwa.rules.session import Claims, decode_claims, encode_claims
from poruwa.stack.session_keys import KeptRing, next_step, publish
from poruwa.stack.state import open_state

RING = "r" * 43
PASSWORD = "p" * 43
DAY = 86_400
INSTANCES = 3
LONG_ENOUGH_SECONDS = 15.0


class Site:
    """Three instances; ``keys`` are theirs, to look into tokens."""

    def __init__(self, folder: Path, database: DatabaseProcess, stack: ExitStack) -> None:
        self.folder = folder
        self.database = database
        self.bus = stack.enter_context(ValkeyProcess(folder / "bus", *BUS, password=PASSWORD))
        self.cache = stack.enter_context(ValkeyProcess(folder / "cache", *CACHE))
        (folder / "site.toml").write_text(POLICY)
        (folder / "secrets").write_text(f"PORUWA_SESSION_KEYS={RING}\n")
        environment = {
            "PORUWA_POLICY": str(folder / "site.toml"),
            "PORUWA_BUS_URL": self.bus.url,
            "PORUWA_CACHE_URL": self.cache.url,
            "PORUWA_SESSION_KEYS": RING,
            "PORUWA_SESSION_KEYS_KEPT_IN": str(folder / "secrets"),
            URL_VARIABLE: database.url,
        }
        with ThreadPoolExecutor() as pool:
            self.instances = list(
                pool.map(lambda _: SessionInstance(folder, environment), range(INSTANCES))
            )
        for instance in self.instances:
            stack.callback(instance.stop)

    @property
    def keys(self) -> SessionKeys:
        return SessionKeys(lambda: KeptRing(self.folder, "PORUWA_SESSION_KEYS").read().text())

    def claims(self, token: str) -> Claims:
        opened = self.keys.sealer.open(token.encode())
        assert opened is not None
        claims = decode_claims(opened[0])
        assert claims is not None
        return claims

    def who(self, token: str) -> set[str | None]:
        """Return whom a cookie signs in, on all instances."""
        return {instance.who(token) for instance in self.instances}

    def old_token(self, user: str) -> str:
        """Return the cookie of somebody who signed in 25 days ago: it is due."""
        began = int(time.time()) - 25 * DAY
        claims = Claims(
            session_id=user.encode().ljust(16, b"."),
            user_id=user,
            audience="site",
            started_at=began,
            authenticated_at=began,
            issued_at=began,
            expires_at=began + 30 * DAY,
        )
        return self.keys.sealer.seal(encode_claims(claims)).decode()

    def until_certain(self) -> None:
        for instance in self.instances:
            eventually(lambda instance=instance: instance.get("/ready").text == "yes")


def eventually(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + LONG_ENOUGH_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with DatabaseProcess(tmp_path_factory.mktemp("database")) as process:
        yield process


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, database: DatabaseProcess) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("site"), database, stack)


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Site]:
    """A site to do harm to."""
    with DatabaseProcess(tmp_path / "database") as database, ExitStack() as stack:
        yield Site(tmp_path, database, stack)


def test_a_session_begun_on_one_instance_is_known_on_all(site: Site) -> None:
    token = site.instances[0].sign_in("ada")
    assert site.who(token) == {"ada"}


def test_13_after_the_answer_to_a_sign_out_no_instance_takes_the_cookie(site: Site) -> None:
    for first in site.instances:
        token = first.sign_in("ben")
        assert first.post("/sign-out", token).status_code == 200
        assert site.who(token) == {None}


def test_14_a_slow_renewing_answer_brings_no_session_back(site: Site) -> None:
    one, other, _ = site.instances
    token = site.old_token("cleo")
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(one.get, "/me?seconds=1", token)
        time.sleep(0.3)
        assert other.post("/sign-out", token).status_code == 200
        renewed = token_of(slow.result())
    assert site.claims(renewed).generation == 1
    assert site.who(renewed) == {None}


def test_11_a_step_up_ends_the_old_id_on_every_instance(site: Site) -> None:
    token = site.instances[0].sign_in("dora")
    after = token_of(site.instances[1].post("/prove", token))
    assert site.claims(after).session_id != site.claims(token).session_id
    assert site.who(token) == {None}
    assert site.who(after) == {"dora"}


def test_17_a_new_password_ends_all_other_sessions_on_every_instance(site: Site) -> None:
    tokens = [instance.sign_in("eve") for instance in site.instances]
    kept = token_of(site.instances[1].post("/password", tokens[0]))
    for token in tokens:
        assert site.who(token) == {None}
    assert site.who(kept) == {"eve"}
    assert site.who(site.instances[2].sign_in("eve")) == {"eve"}


def test_18_people_list_and_end_their_own_sessions_and_nobody_elses(site: Site) -> None:
    one, two, three = site.instances
    mine, phone = one.sign_in("fay"), two.sign_in("fay")
    other = three.sign_in("gus")
    listed = one.get("/devices", mine)
    devices = listed.json()
    assert len(devices) == 2
    assert {each["agent"] for each in devices} == {"test"}
    assert site.claims(mine).session_id.hex() not in listed.text  # 4
    (theirs,) = three.get("/devices", other).json()
    assert one.post(f"/end?handle={theirs['handle']}", mine).text == "none"
    assert site.who(other) == {"gus"}
    handles = {each["handle"] for each in devices}
    assert all(two.get(f"/kept?handle={each}").json() for each in handles)  # write-through
    for handle in handles:
        one.post(f"/end?handle={handle}", other)  # a stranger
    assert site.who(phone) == {"fay"}
    for handle in sorted(handles, key=lambda each: each == handle_of(site.claims(mine).session_id)):
        assert one.post(f"/end?handle={handle}", mine).text == "ended"
        assert not two.get(f"/kept?handle={handle}").json()
    assert site.who(phone) | site.who(mine) == {None}


def test_18_an_administrator_ends_all_sessions_of_a_person(site: Site) -> None:
    tokens = [instance.sign_in("hal") for instance in site.instances]
    other = site.instances[0].sign_in("ida")
    admin = site.instances[0].sign_in("admin")
    assert site.instances[2].post("/end?user=hal", admin).text == "ended"
    for token in tokens:
        assert site.who(token) == {None}
    assert site.who(other) == {"ida"}


def test_17_signing_out_everywhere_ends_what_began_on_any_instance(site: Site) -> None:
    tokens = [instance.sign_in("jo") for instance in site.instances]
    site.instances[0].post("/sign-out?everywhere", tokens[0])
    assert [site.who(token) for token in tokens] == [{None}] * INSTANCES
    assert site.who(site.instances[1].sign_in("jo")) == {"jo"}


async def test_20_a_hundred_renewals_at_once_on_three_instances_are_one_session(
    site: Site,
) -> None:
    token = site.old_token("kim")
    async with httpx.AsyncClient(timeout=30) as client:

        async def ask(number: int) -> httpx.Response:
            instance = site.instances[number % INSTANCES]
            url = f"http://127.0.0.1:{instance.port}/me"
            return await client.get(url, headers={"Cookie": f"{NAME}={token}"})

        answers = await asyncio.gather(*map(ask, range(100)))
    assert Counter((each.status_code, each.text) for each in answers) == {(200, '"kim"'): 100}
    claims = {site.claims(token_of(each)) for each in answers}
    assert {each.session_id for each in claims} == {site.claims(token).session_id}
    assert {each.generation for each in claims} == {1}
    # Of one minute, or two if it has just turned.
    assert len(claims) <= 2
    for renewed in {token_of(each) for each in answers[:6]} | {token}:
        assert site.who(renewed) == {"kim"}
    again = site.instances[0].get("/me", token_of(answers[0]))
    assert "set-cookie" not in again.headers  # 22


def test_27_rotating_the_keys_signs_nobody_out(own_site: Site) -> None:
    site = own_site
    before = site.instances[0].sign_in("lea")
    kept = KeptRing(site.folder, "PORUWA_SESSION_KEYS")
    store, coherence = site.bus.store(), Coherence()
    today = _today()
    ring = next_step(kept.read(), today)
    kept.write(ring)
    known = asyncio.run(publish(store, coherence, ring.coming))
    assert known.is_complete
    assert sum(name.startswith("app/") for name in known.layers) == INSTANCES
    assert all(said.applied_after is not None for said in known.layers.values())
    during = site.instances[1].sign_in("max")
    assert header(during)["kid"] == header(before)["kid"]
    ring = next_step(ring, today)
    kept.write(ring)
    asyncio.run(publish(store, coherence, ring.sealing))
    after = site.instances[2].sign_in("noa")
    assert header(after)["kid"] == ring.sealing.name != header(before)["kid"]
    assert (site.who(before), site.who(during), site.who(after)) == ({"lea"}, {"max"}, {"noa"})
    made_anew = token_of(site.instances[1].get("/me", before))
    assert header(made_anew)["kid"] == ring.sealing.name
    assert site.claims(made_anew) == site.claims(before)
    ring = ring.without(ring.keys[0])
    kept.write(ring)
    asyncio.run(publish(store, coherence, None))
    assert (site.who(before), site.who(made_anew)) == ({None}, {"lea"})


def test_27_the_command_rotates_under_load_and_nobody_is_signed_out(own_site: Site) -> None:
    site = own_site
    (site.folder / "secrets").write_text(
        f"PORUWA_SESSION_KEYS={RING}\nPORUWA_BUS_PASSWORD={PASSWORD}\n"
    )
    (site.folder / "bus.port").write_text(str(site.bus.port))
    over = threading.Event()

    def walk(number: int) -> Counter[str]:
        """Sign in and walk over all instances, taking each new cookie, as a browser does."""
        seen: Counter[str] = Counter()
        user = f"walker{number}"
        with httpx.Client(timeout=20) as client:
            token = ""
            while not over.is_set():
                for instance in site.instances:
                    url, fields = f"http://127.0.0.1:{instance.port}", instance.headers(token)
                    if not token:
                        response = client.post(f"{url}/sign-in?user={user}", headers=fields)
                    else:
                        response = client.get(f"{url}/me", headers=fields)
                        seen["in" if response.text == f'"{user}"' else response.text] += 1
                    if "set-cookie" in response.headers:
                        token = token_of(response)
                        seen[f"kid {header(token)['kid']}"] += 1
        return seen

    with open_state(site.folder, least_free_bytes=0), ThreadPoolExecutor() as pool:
        walks = [pool.submit(walk, number) for number in range(4)]
        names = [KeptRing(site.folder, "PORUWA_SESSION_KEYS").read().sealing.name]
        try:
            for _ in range(2):
                names.append(rotate(site.folder))
                time.sleep(0.5)
        finally:
            over.set()
        for each in walks:
            seen = each.result()
            kids = {name.removeprefix("kid ") for name in seen if name.startswith("kid ")}
            assert set(seen) - {f"kid {name}" for name in kids} == {"in"}
            assert kids == set(names)


def rotate(folder: Path) -> str:
    """Run ``poruwa keys rotate``; return the name of the key that seals then."""
    run = subprocess.run(
        (sys.executable, "-m", "poruwa.cli.main", "keys", "rotate",
         "--policy", str(folder / "site.toml"), "--state", str(folder)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    name = run.stdout.split()[1]
    assert name == KeptRing(folder, "PORUWA_SESSION_KEYS").read().sealing.name
    return name


def test_27_an_instance_that_slept_through_a_rotation_knows_the_new_key(own_site: Site) -> None:
    site = own_site
    sleeper = site.instances[0]
    kept = KeptRing(site.folder, "PORUWA_SESSION_KEYS")
    sleeper.freeze()
    try:
        for _ in range(2):
            ring = next_step(kept.read(), _today())
            kept.write(ring)
            assert asyncio.run(publish(site.bus.store(), Coherence(), ring.keys[-1])).is_complete
        token = site.instances[1].sign_in("olu")
        assert header(token)["kid"] == ring.sealing.name
    finally:
        sleeper.thaw()
    assert sleeper.who(token) == "olu"


def test_a_paused_instance_takes_no_session_that_was_ended_meanwhile(own_site: Site) -> None:
    site = own_site
    paused, other, _ = site.instances
    token, whole = other.sign_in("pia"), other.sign_in("quy")
    paused.freeze()
    try:
        # Acknowledged: the lease of the paused one has lapsed.
        assert other.post("/sign-out", token).status_code == 200
        assert other.post("/sign-out?everywhere", whole).status_code == 200
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(paused.who, each) for each in (token, whole) * 5]
            time.sleep(0.3)
            paused.thaw()
            assert {each.result() for each in waiting} == {None}
    finally:
        paused.thaw()
    assert site.who(token) | site.who(whole) == {None}


def test_with_the_bus_away_reading_goes_on_and_ending_is_refused(own_site: Site) -> None:
    site = own_site
    one, *_ = site.instances
    token, ended = one.sign_in("rob"), one.sign_in("sam")
    one.post("/sign-out", ended)
    site.bus.kill()
    eventually(lambda: one.get("/ready").text == "no")
    assert site.who(token) == {"rob"}
    assert site.who(ended) == {None}
    assert int(one.get("/asked").text) > 0  # unsure: the database is asked
    refused = one.post("/sign-out", token)
    assert refused.status_code == 503
    assert "set-cookie" not in refused.headers
    assert site.who(token) == {"rob"}
    assert site.who(one.sign_in("tim")) == {"tim"}  # nothing is revoked by it
    site.bus.start()
    site.until_certain()
    assert one.post("/sign-out", token).status_code == 200
    assert site.who(token) | site.who(ended) == {None}


def test_a_bus_that_lost_everything_brings_no_ended_session_back(own_site: Site) -> None:
    site = own_site
    ended = site.instances[0].sign_in("uma")
    site.instances[0].post("/sign-out", ended)
    site.bus.restart(keep=False)
    for _ in range(20):
        assert site.who(ended) == {None}
    site.until_certain()
    assert site.who(ended) == {None}


def test_without_bus_and_database_nobody_is_let_in(own_site: Site) -> None:
    site = own_site
    one = site.instances[0]
    token = one.sign_in("vic")
    site.database.kill()
    assert one.who(token) == "vic"  # sure: the list in memory is whole
    site.bus.kill()
    eventually(lambda: one.get("/ready").text == "no")
    response = one.get("/me", token)
    assert response.status_code == 503
    assert response.headers["cache-control"] == "no-store"
    assert one.get("/me").json() is None  # who is not signed in is served
    site.database.start()
    eventually(lambda: one.get("/me", token).status_code == 200)


def test_an_instance_that_starts_knows_what_was_ended_before(own_site: Site) -> None:
    site = own_site
    one, other, _ = site.instances
    ended = one.sign_in("wil")
    other.post("/sign-out", ended)
    token = one.sign_in("xia")
    one.process.kill()
    one.process.wait()
    one.start()
    assert (one.who(ended), one.who(token)) == (None, "xia")


def header(token: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))
    return found


def _today() -> date:
    return datetime.now(UTC).date()
