"""Files of a folder (being written)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from poruwa.config.model_route import StaticFolder

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange


class StaticFiles:
    def __init__(self, section: StaticFolder, *, prefix: str, folder: Path) -> None:
        self._section = section

    def serve(self, exchange: Exchange) -> None:
        exchange.answer_error(404)
