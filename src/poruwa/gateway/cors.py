"""CORS fields added, preflights answered: what a route with a ``cors`` section does.

Place on the path: the router has the fields added, so that every answer carries them, also a
refusal by guard or limit; preflights are answered after those (``gateway.own_answers``). What is
allowed is decided in ``poruwa.rules.cors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poruwa.config.model_route import Cors
from poruwa.rules.cors import CorsPolicy, is_preflight

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange


class CorsRules:
    """The CORS section of one route."""

    __slots__ = ("_policy",)

    def __init__(self, section: Cors) -> None:
        self._policy = CorsPolicy(section)

    def permit(self, exchange: Exchange) -> None:
        """Put the fields on the answer to come; a preflight's has others."""
        fields = exchange.head.fields
        if not is_preflight(exchange.method, fields):
            exchange.response_lines += self._policy.response_lines(fields.get(b"origin"))

    def answer_preflight(self, exchange: Exchange) -> bool:
        """Answer a request if it is a preflight."""
        fields = exchange.head.fields
        if not is_preflight(exchange.method, fields):
            return False
        refusal, lines = self._policy.preflight(fields)
        if refusal is None:
            exchange.answer(204, lines)
        else:
            exchange.gateway.metrics.refused(refusal.code)
            lines += b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
            exchange.answer(403, lines, refusal.value.encode() + b"\n")
        return True
