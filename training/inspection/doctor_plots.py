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
# A topic of so few is drawn message by message; of others so many are drawn as one bin.
_FEW_MESSAGES, _A_BIN = 20, 8
# Delays beyond this [ms] are drawn by their logarithm, beside a clock that was set.
_LINEAR_MS = 100


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
        axes.barh(row, report.length_s, 0.76, color="#f0f4fa")
        if line.counts.sum() <= _FEW_MESSAGES:
            at = (_edges_s(line)[:-1] + line.width_ns / NS_PER_S / 2)[line.counts > 0]
            axes.plot(at, [row] * len(at), "|", color="#1c6bb0", ms=11, mew=2)
        else:
            _draw_density(axes, row, line, report.length_s)
        found = next(topic for topic in report.topics if topic.name == name)
        gaps = [finding for finding in report.findings if finding.topic == name]
        for finding in gaps:
            if finding.code in ("gaps", "missing messages") and found.role != OTHER:
                for at_s, length_s in finding.places[:_MOST_GAPS_DRAWN]:
                    axes.plot([at_s, at_s + length_s], [row, row], color="#d32f2f", lw=4)
            elif finding.code != "gaps":
                points = [at_s for at_s, _ in finding.places]
                axes.plot(points, [row] * len(points), "x", color="#d32f2f", ms=6)
    for finding in report.findings:
        if finding.code == "clock set back":
            lost_s = finding.places[0][0], report.length_s
            axes.axvspan(*lost_s, fc="none", ec="#d32f2f", hatch="//", alpha=0.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, max(report.length_s, 1e-3))
    axes.set_title(
        "messages by arrival; red: gaps between stamps, x: other findings, hatched: not used",
        fontsize=10,
    )
    axes.set_xlabel("since the first message [s]")


def _draw_density(axes, row: int, line: Timeline, length_s: float) -> None:
    """Draw how densely messages come, in bins that each should hold several of them."""
    mean = line.counts.sum() * line.width_ns / NS_PER_S / max(length_s, 1e-9)
    # Of a slow topic a bin has now one and now two, which is no change of its rate.
    joined = min(max(1, round(_A_BIN / max(mean, 1e-9))), len(line.counts) // 8)
    count = len(line.counts) // joined
    counts = line.counts[: count * joined].reshape(count, joined).sum(1)
    edges_s = _edges_s(line)[: count * joined + 1 : joined]
    shown = max(int(np.searchsorted(edges_s[:-1], length_s, side="right")), 1)
    edges_s = np.minimum(edges_s[: shown + 1], max(length_s, edges_s[1]))
    widths = np.maximum(np.diff(edges_s), 1e-9)
    # Of the usual density, not of that of a burst.
    density = counts[:shown] / widths
    usual = np.quantile(density[density > 0], 0.8)
    axes.pcolormesh(
        edges_s,
        [row - 0.38, row + 0.38],
        np.minimum(density / usual, 1)[None],
        cmap="Blues",
        vmin=0,
        vmax=1.3,
    )


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
        axes.set_yscale("symlog", linthresh=_LINEAR_MS)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.margins(x=0)
        axes.legend(fontsize=8, loc="upper left")


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
    # What is rare is what matters.
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title("rate: 1 / time between neighbouring stamps", fontsize=10)
    axes.set_xlabel("[Hz]")
    axes.set_ylabel("share of the intervals")
    if axes.patches:
        axes.legend(fontsize=8, loc="upper left")


def _edges_s(line: Timeline) -> np.ndarray:
    return np.arange(len(line.counts) + 1) * line.width_ns / NS_PER_S
