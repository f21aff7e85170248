"""The command line of the benchmarks: what is unknown or missing is said in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench import __main__ as command
from bench import micro
from bench.errors import BenchError
from bench.report import ORDER
from bench.settings import Settings


def test_an_unknown_benchmark_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["no-such"])
    assert ended.value.code == 2
    assert f"there are {', '.join(ORDER)}" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seconds=0", "--rounds=-1", "--seconds=x"])
def test_lengths_that_measure_nothing_are_refused(option: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["micro", option])
    assert ended.value.code == 2


def test_one_that_cannot_run_does_not_stop_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def cannot_run(settings: Settings) -> None:
        raise BenchError("wrk is not installed.")

    monkeypatch.setattr(micro, "run", cannot_run)
    assert command.main(["micro", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "bench micro: wrk is not installed." in captured.err
    assert "not run: micro" in captured.out


def test_micro_runs_an_exchange_and_compares_with_the_last_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("_EXCHANGES", "_WARM_UP"):
        monkeypatch.setattr(micro, name, 500)
    monkeypatch.setattr(micro, "_REPETITIONS", 2)
    arguments = ["micro", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    assert command.main(arguments) == 0
    rows = re.findall(
        r"^\| (bare|browser headers) .*[+-]\d+\.\d% \|$",
        (tmp_path / "micro.md").read_text(),
        re.MULTILINE,
    )
    assert rows == ["bare", "browser headers"]
    assert (tmp_path / "micro.svg").read_text().startswith("<?xml")
