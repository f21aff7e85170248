"""A process with a cache manager, told on standard input what to do, answering in JSON lines.

    python -m fakes.cache_caller FILE     FILE counts the loads of all such processes

Commands: ``call N KEY SECONDS`` (N calls at once of a loader that takes so long) answers values and
the seconds they took; ``stats``; the end of the input ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from fakes.cached_site import POLICY
from poruwa.app.platform import Platform
from poruwa.config.load import parse_policy


async def main(file: Path) -> None:
    platform = Platform(parse_policy(POLICY, "site.toml"))
    slowness = 0.0

    @platform.cached("venue", tags=("venue:{key}",))
    async def load(key: int) -> str | None:
        with file.open("ab", buffering=0) as log:
            log.write(b"%d %d\n" % (os.getpid(), key))
        await asyncio.sleep(slowness)
        return f"loaded by {os.getpid()}"

    async with platform.running():
        while not platform.stats()["is_sure"]:
            await asyncio.sleep(0.01)
        say("ready")
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            verb, *rest = line.split()
            if verb == "call":
                slowness = float(rest[2])
                started = time.monotonic()
                values = await asyncio.gather(*(load(int(rest[1])) for _ in range(int(rest[0]))))
                answer: object = {"values": values, "seconds": time.monotonic() - started}
            else:
                answer = platform.stats()["classes"]
            say(answer)


def say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
