"""The generated page says what the code does."""

from __future__ import annotations

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
