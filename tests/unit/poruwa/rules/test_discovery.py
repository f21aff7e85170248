"""What answers mean (A1): one order, weights in proportion, and the last good list stays."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.errors import ConfigError
from poruwa.rules.discovery import (
    HEAVIEST,
    MOST_INSTANCES,
    RETRY_SECONDS,
    SHORTEST_LOOK_SECONDS,
    Answer,
    Discovered,
    DiscoveryProblem,
    FoundInstance,
    ServiceRecord,
    advance,
    beside,
    from_addresses,
    from_services,
    next_look_seconds,
    parse_instance_file,
    preferred_services,
    scaled_weights,
)

ONE = FoundInstance(name="10.0.0.1:80", address="10.0.0.1:80")
TWO = FoundInstance(name="10.0.0.2:80", address="10.0.0.2:80")


def addresses(instances: tuple[FoundInstance, ...]) -> list[str]:
    return [each.address for each in instances]


# Answers of the DNS.


def test_addresses_have_one_order_and_each_is_there_once() -> None:
    hosts = ["10.0.0.10", "2001:DB8::0:2", "10.0.0.9", "2001:db8::2", "10.0.0.9"]
    found = from_addresses(hosts, 3000)
    assert addresses(found) == ["10.0.0.9:3000", "10.0.0.10:3000", "[2001:db8::2]:3000"]
    assert [each.name for each in found] == addresses(found)
    Random(1).shuffle(hosts)
    assert from_addresses(hosts, 3000) == found


def test_what_filters_answer_is_no_instance() -> None:
    """0.0.0.0 would be this machine."""
    assert addresses(from_addresses(["0.0.0.0", "::", "224.0.0.1", "10.0.0.1"], 80)) == [
        "10.0.0.1:80"
    ]


def service(priority: int, weight: int, target: str, port: int = 80) -> ServiceRecord:
    return ServiceRecord(priority=priority, weight=weight, port=port, target=target)


def test_only_the_lowest_priority_number_counts() -> None:
    """RFC 2782: others are for when none of these can be reached."""
    records = [service(20, 1, "c"), service(10, 5, "a"), service(10, 0, "b")]
    assert [each.target for each in preferred_services(records)] == ["a", "b"]


def test_a_service_that_is_decidedly_not_there_has_no_records() -> None:
    """RFC 2782: a target of "."."""
    assert preferred_services([service(0, 0, "", 0)]) == ()
    assert preferred_services([]) == ()


def test_srv_records_bring_ports_and_weights() -> None:
    found = from_services(
        [service(1, 3, "a", 8001), service(1, 1, "a", 8002), service(1, 0, "b", 8001)],
        {"a": ["10.0.0.1"], "b": ["10.0.0.2"]},
    )
    assert [(each.address, each.weight) for each in found] == [
        ("10.0.0.1:8001", 3),
        ("10.0.0.1:8002", 1),
        ("10.0.0.2:8001", 1),
    ]


def test_the_addresses_of_a_target_share_its_weight() -> None:
    found = from_services(
        [service(1, 10, "a"), service(1, 10, "b"), service(1, 10, "gone")],
        {"a": ["10.0.0.1", "2001:db8::1"], "b": ["10.0.0.2"], "gone": []},
    )
    assert {each.address: each.weight for each in found} == {
        "10.0.0.1:80": 5,
        "10.0.0.2:80": 10,
        "[2001:db8::1]:80": 5,
    }


def test_two_records_for_one_place_are_one_instance() -> None:
    found = from_services(
        [service(1, 2, "a"), service(1, 3, "alias")], {"a": ["10.0.0.1"], "alias": ["10.0.0.1"]}
    )
    assert [(each.address, each.weight) for each in found] == [("10.0.0.1:80", 5)]


@pytest.mark.parametrize(
    ("shares", "weights"),
    [
        ([0, 0], [1, 1]),
        ([256, 1, 0], [256, 1, 1]),
        ([1000, 500, 1], [256, 128, 1]),
        ([65535, 65535], [256, 256]),
        ([Fraction(1, 2), 1], [128, 256]),
        ([], []),
    ],
)
def test_weights_fit_and_keep_their_proportion(
    shares: list[int | Fraction], weights: list[int]
) -> None:
    assert scaled_weights([Fraction(share) for share in shares]) == weights


@given(st.lists(st.fractions(0, 65_535, max_denominator=50), max_size=20))
def test_any_weights_are_legal_and_in_order(shares: list[Fraction]) -> None:
    weights = scaled_weights(shares)
    assert all(1 <= weight <= HEAVIEST for weight in weights)
    pairs = sorted(zip(shares, weights, strict=True))
    assert [weight for _, weight in pairs] == sorted(weights)


# What stays, and when to look again.


def test_a_list_replaces_the_last_one() -> None:
    first = advance(Discovered(), Answer(instances=(ONE,)), 5.0)
    assert first == Discovered(instances=(ONE,), changed_at=5.0, problem=None)
    again = advance(first, Answer(instances=(ONE,)), 6.0)
    assert again.changed_at == 5.0
    assert advance(again, Answer(instances=(TWO,)), 7.0).instances == (TWO,)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(), DiscoveryProblem.EMPTY),
        (Answer(problem=DiscoveryProblem.TIMEOUT, detail="x"), DiscoveryProblem.TIMEOUT),
        (Answer(instances=(TWO,) * (MOST_INSTANCES + 1)), DiscoveryProblem.TOO_MANY),
    ],
)
def test_the_last_good_list_stays_and_says_why(answer: Answer, problem: DiscoveryProblem) -> None:
    good = advance(Discovered(), Answer(instances=(ONE,)), 5.0)
    after = advance(good, answer, 9.0)
    assert (after.instances, after.changed_at, after.problem) == ((ONE,), 5.0, problem)
    assert advance(after, Answer(instances=(ONE,)), 10.0) == good


def test_nothing_was_ever_found() -> None:
    assert Discovered().problem is DiscoveryProblem.NOT_LOOKED
    assert advance(Discovered(), Answer(), 1.0).instances == ()


@pytest.mark.parametrize(
    ("ttl", "refresh", "seconds"),
    [
        (10.0, 30.0, 10.0),
        (300.0, 30.0, 30.0),
        (0.0, 30.0, SHORTEST_LOOK_SECONDS),
        (None, 30.0, 30.0),
    ],
)
def test_the_next_look_comes_with_the_ttl(
    ttl: float | None, refresh: float, seconds: float
) -> None:
    assert next_look_seconds(Answer(instances=(ONE,), ttl_seconds=ttl), refresh) == seconds


def test_a_look_that_brought_nothing_is_made_again_soon() -> None:
    assert next_look_seconds(Answer(ttl_seconds=300.0), 30.0) == RETRY_SECONDS
    assert next_look_seconds(Answer(problem=DiscoveryProblem.TIMEOUT), 0.5) == 0.5


def test_listed_instances_stay_as_listed() -> None:
    named = FoundInstance(name="main", address="10.0.0.3:80")
    listed = [("main", "10.0.0.1:80"), ("other", "APP:80")]
    app = FoundInstance(name="app:80", address="app:80")
    assert beside(listed, [ONE, TWO, named, app]) == (
        TWO,
        FoundInstance(name="10.0.0.3:80", address="10.0.0.3:80"),
    )


# The file.

FILE = b"""# two of the first generation
10.0.0.2:3000 weight=3   # twice the memory of an old one
App1.internal:3000\tname=old weight=1\r

 unix:/run/app#1.sock
[2001:DB8::1]:3000
"""


def test_a_file_lists_addresses_weights_and_names() -> None:
    assert parse_instance_file(FILE, "instances.txt") == (
        FoundInstance(name="10.0.0.2:3000", address="10.0.0.2:3000", weight=3),
        FoundInstance(name="[2001:db8::1]:3000", address="[2001:db8::1]:3000"),
        FoundInstance(name="old", address="app1.internal:3000"),
        FoundInstance(name="unix:/run/app#1.sock", address="unix:/run/app#1.sock"),
    )


def test_a_file_of_comments_lists_nobody() -> None:
    assert parse_instance_file(b"", "x") == parse_instance_file(b"# none\n\n", "x") == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"10.0.0.1", 'not an address; write "host:port"'),
        (b"10.0.0.1:0", "names no host and port to connect to"),
        (b":3000", "names no host and port to connect to"),
        (b"10.0.0.1:99999", "ports go from 0 to 65535"),
        (b"2001:db8::1:80", "without brackets"),
        (b"unix.:2", "would be taken for a Unix socket"),
        (b"UNIX:2", "would be taken for a Unix socket"),
        (b"10.0.0.1:80 wieght=3", "'wieght=3' is not known here; write weight=N or name=X"),
        (b"10.0.0.1:80 10.0.0.2:80", "is not known here"),
        (b"10.0.0.1:80 weight", "is not known here"),
        (b"10.0.0.1:80 weight=0", "weight=0 is not a whole number of 1 to 256"),
        (b"10.0.0.1:80 weight=257", "weight=257 is not"),
        (b"10.0.0.1:80 weight=1.5", "weight=1.5 is not"),
        (b"10.0.0.1:80 weight=", "weight= is not"),
        (b"10.0.0.1:80 weight=\xd9\xa3", "is not a whole number"),
        (b"10.0.0.1:80 weight=1 weight=1", "weight is stated twice"),
        (b"10.0.0.1:80 name=a/b", "is not a name of letters"),
        (b"10.0.0.1:80 name=", "is not a name of letters"),
        (b"\xff:80", "is not UTF-8"),
        (b"taken:80", "taken:80 is on line 1 already"),
        (b"TAKEN.:80", "taken:80 is on line 1 already"),
        (b"b:80 name=first", "first is on line 2 already"),
    ],
)
def test_a_bad_line_is_named_with_its_remedy(line: bytes, says: str) -> None:
    data = b"taken:80\na:80 name=first\n\n" + line + b"\n"
    with pytest.raises(ConfigError) as refusal:
        parse_instance_file(data, "instances.txt")
    assert refusal.value.message.startswith("instances.txt:4: ")
    assert says in refusal.value.message
