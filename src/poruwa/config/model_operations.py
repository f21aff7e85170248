"""The policy's sections on running the site: name, scaling, targets, logs, the stack."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from poruwa.config.setting import OPERATIONS, SESSIONS, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the policy is for."""

    name: Annotated[str, Setting(form="name", why="Names the site in logs and keys.")] = "site"
    build: Annotated[
        str,
        Setting(
            form="build", why="Version that is running: pages of two builds never share a key."
        ),
    ] = "dev"
    domain: Annotated[
        str,
        Setting(form="host-port", why="The host people use; cookies must fit it."),
    ] = "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Instances follow the load between a floor and a ceiling."""

    enabled: Annotated[bool, Setting(brings=OPERATIONS, why="Off: the count is as configured.")] = (
        False
    )
    least: Annotated[
        int, Setting(least=1, most=1000, unit="instances", brings=OPERATIONS, why="Never fewer.")
    ] = 2
    most: Annotated[
        int, Setting(least=1, most=1000, unit="instances", brings=OPERATIONS, why="Never more.")
    ] = 8
    target_in_flight: Annotated[
        float,
        Setting(
            least=0.1,
            most=10_000,
            unit="requests per instance",
            brings=OPERATIONS,
            why="Above it one more is started.",
        ),
    ] = 8.0
    up_after_seconds: Annotated[
        float, Setting(least=1, most=3600, brings=OPERATIONS, why="Load must last so long.")
    ] = 15.0
    down_after_seconds: Annotated[
        float,
        Setting(least=1, most=86_400, brings=OPERATIONS, why="Slower than up, against swinging."),
    ] = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What is watched and alerted on."""

    cached_response_seconds: Annotated[
        float, Setting(least=0.001, most=60, brings=OPERATIONS, why="99 of 100 cached answers.")
    ] = 0.2
    hit_ratio: Annotated[
        float,
        Setting(
            least=0, most=1, unit="share", brings=OPERATIONS, why="Per shared class, once warm."
        ),
    ] = 0.9
    availability: Annotated[
        float,
        Setting(least=0, most=1, unit="share", brings=OPERATIONS, why="Requests without a 5xx."),
    ] = 0.999
    staleness_after_write_seconds: Annotated[
        float,
        Setting(least=0.01, most=3600, brings=OPERATIONS, why="Until every layer has the change."),
    ] = 1.0


class LogFormat(StrEnum):
    """How a log line looks."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The least that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Structured logs."""

    level: Annotated[LogLevel, Setting(why="debug tells of every decision.")] = LogLevel.INFO
    format: Annotated[LogFormat, Setting(why="auto: text on a terminal, JSON lines elsewhere.")] = (
        LogFormat.AUTO
    )
    access: Annotated[bool, Setting(why="A line per request.")] = True
    client_addresses: Annotated[
        bool,
        Setting(
            brings=SESSIONS, why="Addresses are personal data (GDPR): off cuts them to /24 and /48."
        ),
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What ``poruwa up`` starts and how it watches it."""

    application: Annotated[
        str | None,
        Setting(form="import-path", why="ASGI application of the instances: module:attribute."),
    ] = None
    seed: Annotated[
        str | None,
        Setting(
            form="call",
            why="Called in a process of its own once the database runs, with the words after it as "
            "arguments; fills the database when empty.",
        ),
    ] = None
    state: Annotated[
        str, Setting(form="path", why="Folder for data, sockets and generated keys.")
    ] = "state"
    ready_seconds: Annotated[
        float, Setting(least=1, most=3600, why="A part that is not ready by then has failed.")
    ] = 60.0
    backoff_seconds: Annotated[
        float, Setting(least=0.01, most=60, why="First pause before a crashed part restarts.")
    ] = 0.25
    backoff_longest_seconds: Annotated[
        float, Setting(least=0.1, most=3600, why="The pause doubles up to this.")
    ] = 15.0
