"""Hashes of the inline blocks that templates mark (SECURITY-CHECKS 52, D7)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from hashlib import sha256

import pytest
from jinja2 import DictLoader, Environment, TemplateSyntaxError

from poruwa.app.security.inline_blocks import Blocks, InlineBlocks, collect_blocks

SITE = "default-src 'none'; script-src 'self'; base-uri 'none'"


def _render(source: str, **values: object) -> tuple[str, Blocks]:
    loader = DictLoader({"page": source, "part": "{% script %}part(){% endscript %}"})
    environment = Environment(loader=loader, autoescape=True, extensions=[InlineBlocks])
    with collect_blocks() as blocks:
        return environment.get_template("page").render(values), blocks


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_a_page_names_its_own_blocks_and_nothing_else() -> None:
    html, blocks = _render("{% script %}go();{% endscript %}<p>{% style %}p{}{% endstyle %}")
    assert html == "<script>go();</script><p><style>p{}</style>"
    assert blocks.policy(SITE) == (
        f"default-src 'none'; script-src 'self' {_hash('go();')}; base-uri 'none'; "
        f"style-src {_hash('p{}')}"
    )


def test_the_hash_is_of_what_was_rendered() -> None:
    """Values, line ends as browsers read them, blocks of included templates, each once."""
    html, blocks = _render(
        "{% script %}say({{ word|tojson }});\r\n{% endscript %}{% include 'part' %}"
        "{% include 'part' %}",
        word="</script> & සිංහල",
    )
    content = html.partition("<script>")[2].partition("</script>")[0]
    assert content.endswith(");\n")
    assert blocks.policy(SITE) == SITE.replace(
        "'self'", f"'self' {_hash(content)} {_hash('part()')}"
    )


def test_a_page_without_blocks_keeps_the_sites_policy() -> None:
    assert _render("<p>")[1].policy(SITE) is None


@pytest.mark.parametrize("value", ["</script><script>bad()", "<!-- <script>", "a\0b"])
def test_what_would_leave_the_element_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="tojson"):
        _render("{% script %}x = '{{ value|safe }}'{% endscript %}", value=value)


def test_a_block_that_nobody_collects_is_an_error() -> None:
    environment = Environment(extensions=[InlineBlocks], autoescape=True)
    template = environment.from_string("{% script %}go(){% endscript %}")
    with pytest.raises(RuntimeError, match="collect_blocks"):
        template.render()


def test_attributes_are_refused() -> None:
    with pytest.raises(TemplateSyntaxError, match="no attributes"):
        _render("{% script async %}go(){% endscript %}")


async def test_pages_that_are_rendered_at_once_keep_apart() -> None:
    async def page(number: int) -> bool:
        with collect_blocks() as blocks:
            await asyncio.sleep(0)
            environment = Environment(extensions=[InlineBlocks], autoescape=True)
            environment.from_string("{% script %}{{ n }}{% endscript %}").render(n=number)
            await asyncio.sleep(0)
        return blocks.policy(SITE) == SITE.replace("'self'", f"'self' {_hash(str(number))}")

    assert all(await asyncio.gather(*map(page, range(10))))
