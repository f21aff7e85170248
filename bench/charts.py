"""Charts of the results: grouped bars, one look, readable on light and dark pages.

A chart has a light card of its own as background, since a picture in a page cannot know the page's
colours. Colours are Okabe and Ito's, which people who see colours differently can tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"Poruwa": "#D55E00", "nginx": "#009E73", "HAProxy": "#0072B2", "Varnish": "#CC79A7"}
_OTHER_COLOURS = ("#0072B2", "#56B4E9", "#CC79A7")
_INK = "#1f2328"
_FAINT = "#d0d7de"
_CARD = "#fbfaf7"
_BARS_WIDTH = 0.8  # of the distance between two groups


def new_figure(columns: int, rows: int, *, title: str, width: float, height: float) -> Figure:
    """Return an empty figure of ``columns`` x ``rows`` panels, sizes in inches."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "svg.hashsalt": "poruwa",  # the same figures give the same file
            "svg.fonttype": "path",
        }
    )
    figure, _ = pyplot.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained"
    )
    figure.patch.set_facecolor(_CARD)
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return figure


def draw_bars(
    axes: Axes,
    groups: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    title: str,
    unit: str,
    form: str = "{:,.0f}",
) -> None:
    """Draw a bar per group and series: ``(median, low, high)``, the last two as a whisker."""
    width = _BARS_WIDTH / len(series)
    others = iter(_OTHER_COLOURS)
    for number, (name, values) in enumerate(series.items()):
        offset = (number - (len(series) - 1) / 2) * width
        places = [group + offset for group in range(len(groups))]
        medians = [value[0] for value in values]
        axes.bar(
            places, medians, width * 0.92, label=name, color=COLOURS.get(name) or next(others)
        )  # fmt: skip
        for place, (_, low, high) in zip(places, values, strict=True):
            if low < high:
                axes.plot([place, place], [low, high], color=_INK, linewidth=0.9)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                form.format(value[0]), (place, value[2]), xytext=(0, 3),
                textcoords="offset points", ha="center", va="bottom", fontsize=6.5,
            )  # fmt: skip
    axes.set_xticks(range(len(groups)), groups)
    axes.set_title(title, fontsize=9.5, loc="left")
    axes.set_ylabel(unit)
    axes.set_facecolor(_CARD)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.margins(y=0.14)


def save_figure(figure: Figure, path: Path) -> None:
    """Write ``figure`` with one legend for all panels, and forget it."""
    from matplotlib import pyplot

    handles, labels = figure.axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, metadata=metadata, dpi=120)
    pyplot.close(figure)
