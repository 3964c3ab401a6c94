"""What the doctor counted of a bag, as one picture."""

import io

import numpy as np
from matplotlib.figure import Figure

from training.inspection.doctor_report import OTHER, BagReport
from training.inspection.doctor_stream import StreamWatch, Timeline
from vla_ros.core.resample import NS_PER_S

# Topics beside those that a dataset needs are drawn while there is room.
_MOST_TOPICS = 16
_MOST_GAPS_DRAWN = 50


def plots(report: BagReport, watches: dict[str, StreamWatch]) -> bytes:
    """Return a PNG: messages over time with gaps in red, delays over time, intervals."""
    needed = [topic for topic in report.topics if topic.role != OTHER]
    drawn = report.topics[: max(_MOST_TOPICS, len(needed))]
    figure = Figure(figsize=(11, 4.2 + 0.28 * len(drawn)), dpi=100, layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[0.8 + 0.28 * len(drawn), 3])
    _draw_messages(figure.add_subplot(grid[0, :]), report, watches, [topic.name for topic in drawn])
    names = [topic.name for topic in needed if topic.name in watches]
    _draw_delays(figure.add_subplot(grid[1, 0]), watches, names)
    _draw_intervals(figure.add_subplot(grid[1, 1]), watches, names)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def _draw_messages(
    axes, report: BagReport, watches: dict[str, StreamWatch], names: list[str]
) -> None:
    """Draw a row a topic: dark where messages are as dense as anywhere, red lines in gaps."""
    for row, name in enumerate(names):
        line = watches[name].timeline
        edges_s = _edges_s(line)
        shown = max(int(np.searchsorted(edges_s[:-1], report.length_s, side="right")), 1)
        # Of the usual density, not of that of a burst.
        usual = np.quantile(line.counts[line.counts > 0], 0.8)
        density = np.minimum(line.counts[:shown] / usual, 1)
        axes.pcolormesh(
            edges_s[: shown + 1],
            [row - 0.38, row + 0.38],
            density[None],
            cmap="Blues",
            vmin=0,
            vmax=1.3,
        )
        found = next(topic for topic in report.topics if topic.name == name)
        gaps = [finding for finding in report.findings if finding.topic == name]
        for finding in gaps:
            if finding.code in ("gaps", "missing messages") and found.role != OTHER:
                for at_s, length_s in finding.places[:_MOST_GAPS_DRAWN]:
                    axes.plot([at_s, at_s + length_s], [row, row], color="#d32f2f", lw=4)
            elif finding.code != "gaps":
                points = [at_s for at_s, _ in finding.places]
                axes.plot(points, [row] * len(points), "x", color="#d32f2f", ms=6)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, max(report.length_s, 1e-3))
    axes.set_title("messages over time; red: gaps, x: other findings", fontsize=10)
    axes.set_xlabel("since the first message [s]")


def _draw_delays(axes, watches: dict[str, StreamWatch], names: list[str]) -> None:
    for name in names:
        line = watches[name].timeline
        known = np.isfinite(line.least)
        if not known.any():
            continue
        middles_s = (_edges_s(line)[:-1] + line.width_ns / NS_PER_S / 2)[known]
        least_ms, greatest_ms = line.least[known] / 1e6, line.greatest[known] / 1e6
        (drawn,) = axes.plot(middles_s, line.sums[known] / line.counts[known] / 1e6, label=name)
        axes.fill_between(middles_s, least_ms, greatest_ms, alpha=0.2, color=drawn.get_color())
    axes.set_title("from stamp to arrival: mean, least to greatest", fontsize=10)
    axes.set_xlabel("since the first message [s]")
    axes.set_ylabel("delay [ms]")
    if axes.lines:
        axes.legend(fontsize=8)


def _draw_intervals(axes, watches: dict[str, StreamWatch], names: list[str]) -> None:
    rows = {name: watches[name].intervals.rows() for name in names}
    rows = {
        name: (NS_PER_S / means, counts) for name, (means, counts) in rows.items() if len(means)
    }
    if rows:
        rates = np.concatenate([rates for rates, _ in rows.values()])
        edges = np.geomspace(rates.min() / 1.5, rates.max() * 1.5, 60)
    for name, (rates, counts) in rows.items():
        share, _ = np.histogram(rates, edges, weights=counts / counts.sum())
        axes.stairs(share, edges, label=name, fill=True, alpha=0.45)
    axes.set_xscale("log")
    axes.set_title("rate: 1 / time between neighbouring stamps", fontsize=10)
    axes.set_xlabel("[Hz]")
    axes.set_ylabel("share of the intervals")
    if axes.patches:
        axes.legend(fontsize=8)


def _edges_s(line: Timeline) -> np.ndarray:
    return np.arange(len(line.counts) + 1) * line.width_ns / NS_PER_S
