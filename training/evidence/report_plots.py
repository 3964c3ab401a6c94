"""Success rates as bars with their intervals, a panel for each cell."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_COLUMNS = 3


def plot_cells(report: dict, path: Path) -> None:
    """Draw entire success of every measured row in every cell; the paper's numbers are crosses."""
    rows = [row for row in report["rows"] if row["measured"]]
    cells = list(report["rows"][0]["cells"])
    count = math.ceil(len(cells) / _COLUMNS)
    height = 1.0 + 0.28 * max(len(rows), 2)
    figure, axes = plt.subplots(
        count, _COLUMNS, figsize=(4.2 * _COLUMNS, height * count), squeeze=False, sharex=True
    )
    for axis in axes.flat[len(cells) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, cells, strict=False):
        found = [row["cells"][name] for row in rows]
        places = range(len(rows))
        means = [100 * cell["entire"]["mean"] for cell in found]
        errors = [
            [100 * (cell["entire"]["mean"] - cell["entire"]["low"]) for cell in found],
            [100 * (cell["entire"]["high"] - cell["entire"]["mean"]) for cell in found],
        ]
        axis.barh(places, means, xerr=errors, color="0.75", ecolor="tab:blue", capsize=2)
        for place, cell in zip(places, found, strict=True):
            if cell["paper"] is not None:
                axis.plot(cell["paper"], place, "x", color="tab:red")
        axis.set(title=name, xlim=(0, 100), yticks=list(places))
        axis.set_yticklabels([row["name"] for row in rows], fontsize=7)
        axis.invert_yaxis()
    title = f"{report['method'].upper()}: entire success [%], 95 % intervals; × the paper"
    figure.suptitle(f"{title}\n{report['caution']}" if report["caution"] else title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
