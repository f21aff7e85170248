"""``InlineBlocks``: a Jinja2 extension that lets a page's own inline scripts and styles run.

A page's ``Content-Security-Policy`` names the hash of each inline block that its template marks,
and of nothing else: what is injected does not run. There is no nonce, so that one copy of the page
can be kept by every cache, together with the header. Nothing reads the page's HTML::

    {% script %}document.documentElement.classList.add("js");{% endscript %}
    {% style %}.hero { min-height: {{ rows }}rem }{% endstyle %}

    environment = Environment(extensions=[InlineBlocks], ...)
    with collect_blocks() as blocks:
        html = template.render(...)
    csp = blocks.policy(content_security_policy_of(request))

Values in a script go through Jinja's ``tojson``: what it writes is safe there. A hash allows what
was rendered, so that a value that ends the element, or opens a comment, is refused.

Source: Content Security Policy Level 3, section 6.7.3.3; HTML, "restrictions on the contents of
script elements".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from jinja2 import TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from markupsafe import Markup

from poruwa.rules.csp import block_hash, parse_csp, serialize_csp, with_sources

_DIRECTIVES: Final = {"script": "script-src", "style": "style-src"}
_NEW_LINE: Final = re.compile(r"\r\n?")
# Either would let the element end elsewhere than where it is written to.
_ENDS_ELSEWHERE: Final = re.compile(r"</(?:script|style)|<!--", re.IGNORECASE)


class Blocks:
    """The inline blocks of a page, while it is rendered and after."""

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        # By directive; as keys of a dict, for their order and each once.
        self._hashes: dict[str, dict[str, None]] = {name: {} for name in _DIRECTIVES.values()}

    def add(self, kind: str, text: str) -> None:
        """Note a block's content, as browsers hash it."""
        self._hashes[_DIRECTIVES[kind]][block_hash(text)] = None

    def policy(self, site_policy: str | None) -> str | None:
        """Return the page's Content-Security-Policy; None where the site's own is enough.

        Args:
            site_policy: what holds for the page, ``poruwa.content_security_policy_of(request)``;
                None where nothing does.

        Raises:
            ValueError: it is no policy.
        """
        if site_policy is None or not any(self._hashes.values()):
            return None
        directives = parse_csp(site_policy)
        for name, hashes in self._hashes.items():
            directives = with_sources(directives, name, hashes)
        return serialize_csp(directives)


_collected: ContextVar[Blocks | None] = ContextVar("poruwa_inline_blocks", default=None)


@contextmanager
def collect_blocks() -> Iterator[Blocks]:
    """Give the collection of all marked blocks that are rendered meanwhile, in this task."""
    blocks = Blocks()
    token = _collected.set(blocks)
    try:
        yield blocks
    finally:
        _collected.reset(token)


class InlineBlocks(Extension):
    """``{% script %}...{% endscript %}`` and ``{% style %}...{% endstyle %}``.

    Both write the element. Rendering raises ``ValueError`` for content that would not stay in it,
    and ``RuntimeError`` outside ``collect_blocks()``: a browser would not run the block.
    """

    tags = frozenset(_DIRECTIVES)  # type: ignore[assignment]  # Jinja's own is a mutable set

    def parse(self, parser: Parser) -> nodes.Node:
        """Compile one block."""
        tag = next(parser.stream)
        if parser.stream.current.type != "block_end":
            raise TemplateSyntaxError(
                f"{{% {tag.value} %}} takes no attributes; a file with a src has its own element",
                tag.lineno,
                parser.name,
                parser.filename,
            )
        body = parser.parse_statements((f"name:end{tag.value}",), drop_needle=True)
        call = self.call_method("_element", [nodes.Const(tag.value)], lineno=tag.lineno)
        return nodes.CallBlock(call, [], [], body).set_lineno(tag.lineno)

    def _element(self, kind: str, caller: Callable[[], str]) -> Markup:
        blocks = _collected.get()
        if blocks is None:
            raise RuntimeError(
                f"{{% {kind} %}} is rendered outside collect_blocks(), so that the response would "
                "not allow it; render the page inside"
            )
        text = _NEW_LINE.sub("\n", str(caller()))  # browsers read line ends so, before they hash
        found = _ENDS_ELSEWHERE.search(text)
        if found is not None or "\0" in text:
            what = repr(found[0]) if found is not None else "a NUL"
            raise ValueError(f"an inline {kind} holds {what}; write values with the filter tojson")
        blocks.add(kind, text)
        return Markup(f"<{kind}>{text}</{kind}>")  # noqa: S704
