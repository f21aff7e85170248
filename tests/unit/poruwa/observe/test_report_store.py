"""Browsers' reports on disk: what is alike is counted, and the disk is never filled."""

from __future__ import annotations

from pathlib import Path

from poruwa.observe.report_store import (
    CURRENT,
    MAX_DISTINCT,
    MAX_FILE_BYTES,
    MAX_WINDOW_BYTES,
    OLDER,
    WINDOW_SECONDS,
    ReportStore,
    read_reports,
)
from poruwa.rules.violation_report import ViolationReport


def report(number: int = 0, *, sample: str = "") -> ViolationReport:
    return ViolationReport(kind="csp-violation", page=f"https://a.test/{number}", sample=sample)


def stored(folder: Path) -> list[tuple[str, int, float]]:
    return [(each.report.page, each.count, each.at) for each in read_reports(folder)]


def test_the_first_is_written_and_those_alike_become_one_line(tmp_path: Path) -> None:
    store = ReportStore(tmp_path / "reports")
    for at in (1.0, 2.0, 3.0):
        store.add(report(), now=0.0, at=at)
    store.tick(WINDOW_SECONDS)
    store.add(report(), now=WINDOW_SECONDS, at=70.0)
    store.close()
    page = "https://a.test/0"
    assert stored(tmp_path / "reports") == [(page, 1, 1.0), (page, 2, 3.0), (page, 1, 70.0)]
    assert (tmp_path / "reports" / CURRENT).stat().st_mode & 0o077 == 0


def test_a_flood_is_cut_off(tmp_path: Path) -> None:
    store = ReportStore(tmp_path)
    for number in range(10_000):
        store.add(report(number), now=0.0, at=1.0)
    store.close()
    assert len(stored(tmp_path)) == MAX_DISTINCT
    assert store.dropped == 10_000 - MAX_DISTINCT


def test_a_flood_of_long_ones_is_cut_off_by_bytes(tmp_path: Path) -> None:
    store = ReportStore(tmp_path)
    for number in range(MAX_DISTINCT):
        store.add(report(number, sample="x" * 1000), now=0.0, at=1.0)
    store.close()
    assert (tmp_path / CURRENT).stat().st_size <= MAX_WINDOW_BYTES
    assert store.dropped > 0


def test_two_files_at_most(tmp_path: Path) -> None:
    """Two stores, as two workers are; what is older than two files is forgotten."""
    stores = [ReportStore(tmp_path), ReportStore(tmp_path)]
    for window in range(40):
        now = window * WINDOW_SECONDS
        for store in stores:
            for number in range(100):
                store.add(report(number, sample="x" * 1000), now=now, at=now)
            store.tick(now)
            assert store._writing is not None
            store._writing.result()
    for store in stores:
        store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [OLDER, CURRENT]
    assert all(path.stat().st_size <= MAX_FILE_BYTES for path in tmp_path.iterdir())
    newest = max(each.at for each in read_reports(tmp_path))
    assert newest == 39 * WINDOW_SECONDS


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    store = ReportStore(tmp_path)
    store.add(report(), now=0.0, at=1.0)
    store.close()
    path = tmp_path / CURRENT
    path.write_bytes(path.read_bytes() + b'{"at":1,"cou')
    assert len(stored(tmp_path)) == 1


def test_a_disk_that_fails_costs_the_reports_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ReportStore(tmp_path / "file")
    store.add(report(), now=0.0, at=1.0)
    store.close()
    assert (tmp_path / "file").read_text() == ""
