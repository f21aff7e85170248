"""The generated page says what the code does."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from poruwa.gateway.pipeline import STAGES, Stage
from poruwa.gateway.request_path import render

PAGE = Path(__file__).parents[3] / "docs" / "request-path.md"


def test_page_on_disk_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs`"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_stage_names_a_module_that_exists_once_it_is_built(stage: Stage) -> None:
    if stage.built:
        importlib.import_module(stage.module)
    else:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(stage.module)


def test_requests_take_the_stages_in_their_order() -> None:
    """``handle`` names the functions, for the compiler's sake; here is where it may not stray."""
    source = Path(importlib.import_module("poruwa.gateway.request_path").__file__ or "")
    tree = ast.parse(source.with_name("pipeline.py").read_text(encoding="utf-8"))
    (handle,) = (
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "handle"
    )
    calls = [node for node in ast.walk(handle) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    called = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
    assert called == [stage.run.__name__ for stage in STAGES if stage.run is not None]
