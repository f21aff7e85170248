"""Writes ``docs/request-path.md`` from the pipeline: ``python -m poruwa.gateway.request_path``."""

from __future__ import annotations

import argparse
from pathlib import Path

from poruwa.gateway.pipeline import STAGES

PAGE = Path("docs/request-path.md")

_OPENING = """\
# The path of a request

*Generated from `poruwa.gateway.pipeline.STAGES` by `make docs`; a test keeps it so.*

A request enters the gateway at the top and leaves it at the bottom. Each stage is one module; the
first that can answer does, and what follows is not reached.

"""

_CLOSING = """\

Between balancer and upstream stands one `gateway.attempt` for each try: a request that is slower
than usual has two at a time, and the first answer wins.

The answer goes back through the same connection objects: the instance's connection parses it as
strictly as the client's connection parsed the request, hop-by-hop fields are cut, and the bytes go
out with back-pressure. Every end of an exchange is counted (`observe.metrics`) and logged
(`observe.access_log`) in one place, `Exchange._end`.

Where to look for what: framing refusals in `rules.message`, who is believed about a client's
address in `rules.forwarding`, which instance in `rules.balancing` and `gateway.selection`, who is
ejected or thought slow in `rules.ejection`, `rules.speed` and `gateway.passive_health`, what is
sent again in `rules.retry`, from when on a try is late in `rules.latency` and
`gateway.late_tries`, heads as sent in `gateway.heads`.
"""


def render() -> str:
    """Return the page."""
    lines = ["```text"]
    for number, stage in enumerate(STAGES):
        arrow = "client ─▶" if number == 0 else "         "
        mark = "" if stage.built else "   (comes with a later issue)"
        lines.append(f"{arrow} {number + 1}. {stage.name:<10} {stage.module}{mark}")
    lines.append("          ─▶ instance")
    lines.append("```")
    table = ["", "| stage | module | what it does |", "|---|---|---|"]
    for stage in STAGES:
        name = stage.name if stage.built else f"{stage.name} (not yet)"
        table.append(f"| {name} | `{stage.module}` | {stage.does} |")
    return _OPENING + "\n".join(lines + table) + "\n" + _CLOSING


def main() -> None:
    """Write the page where ``docs`` is: in the working directory, or where the argument says."""
    parser = argparse.ArgumentParser(
        prog="python -m poruwa.gateway.request_path",
        description="Write the page of the pipeline's stages.",
    )
    parser.add_argument("path", nargs="?", type=Path, default=PAGE, help="where to write")
    path: Path = parser.parse_args().path
    path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
