"""An open-loop measurement as JSON, as a table and as a picture."""

import io

import numpy as np
from matplotlib.figure import Figure

from training.learning.bootstrap import Interval, mean_interval, verdict
from training.learning.open_loop import POLICY, OpenLoop

# Fewer recordings than this make intervals that are known to be too narrow.
FEW_RECORDINGS = 10
_WORDS = {
    "better": "policy better, intervals apart",
    "worse": "policy worse, intervals apart",
    "overlap": "intervals overlap",
}


def summary(found: OpenLoop, seed: int = 0) -> dict:
    """Return means with 95 % intervals by recording, and verdicts; plain JSON.

    Keys: "frames", "recordings", "frames_of_training", and "columns", a list of {"name", "unit",
    "errors": {contender: [mean, low, high]}, "verdicts": {baseline: "better", "worse" or
    "overlap"}}; bounds are None where a single recording has numbers.
    """
    intervals = {
        name: mean_interval(errors, found.recordings, seed) for name, errors in found.errors.items()
    }
    columns = []
    for at, (name, unit) in enumerate(found.columns):
        verdicts = {
            other: verdict(intervals[POLICY], interval, at)
            for other, interval in intervals.items()
            if other != POLICY
        }
        errors = {who: _numbers(interval, at) for who, interval in intervals.items()}
        columns.append({"name": name, "unit": unit, "errors": errors, "verdicts": verdicts})
    return {
        "frames": len(found.recordings),
        "recordings": len(np.unique(found.recordings)),
        "frames_of_training": found.num_known,
        "columns": columns,
    }


def _numbers(interval: Interval, at: int) -> list[float | None]:
    values = (float(part[at]) for part in interval)
    return [None if np.isnan(value) else value for value in values]


def table(document: dict) -> str:
    """Return a summary as a Markdown table, with a verdict on each baseline below it."""
    columns = document["columns"]
    names = list(columns[0]["errors"])
    lines = [
        f"| error | unit | {' | '.join(names)} |",
        f"|{'---|' * (2 + len(names))}",
    ]
    for column in columns:
        cells = [_cell(column["errors"][name]) for name in names]
        lines.append(f"| {column['name']} | {column['unit']} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Mean absolute error with 95 % intervals by recording: {document['frames']} frames of "
        f"{document['recordings']} recordings; neighbours among {document['frames_of_training']} "
        "frames of training.",
    ]
    if document["recordings"] < FEW_RECORDINGS:
        lines.append(
            f"Intervals of {document['recordings']} recordings are too narrow, or none: record "
            "more, or take a larger share for held-out ones."
        )
    for name, result in columns[-1]["verdicts"].items():
        apart = [c["name"] for c in columns[:-1] if c["verdicts"][name] == "better"]
        lines.append(
            f"- against {name}: {columns[-1]['name']} {_WORDS[result]}; better and apart in "
            f"{', '.join(apart) or 'no single column'}"
        )
    return "\n".join(lines)


def _cell(numbers: list[float | None]) -> str:
    mean, low, high = numbers
    if low is None or high is None:
        return f"{mean:.3g}"
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


def plot(document: dict) -> bytes:
    """Return a PNG: a field a column, in it each contender's mean and interval."""
    columns = document["columns"]
    names = list(columns[0]["errors"])
    wide = min(len(columns), 4)
    high = -(-len(columns) // wide)
    size = (1.6 + 2.3 * wide, 0.7 + (0.7 + 0.25 * len(names)) * high)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    fields = figure.subplots(high, wide, squeeze=False)
    places = -np.arange(len(names))
    for field in fields.flat[len(columns) :]:
        field.set_axis_off()
    for number, (field, column) in enumerate(zip(fields.flat, columns, strict=False)):
        for place, name in zip(places, names, strict=True):
            mean, low, top = column["errors"][name]
            colour = "tab:blue" if name == POLICY else "0.4"
            field.plot(mean, place, "o", color=colour, ms=5)
            if low is not None:
                field.plot([low, top], [place, place], color=colour, lw=2)
        field.set_title(f"{column['name']} [{column['unit']}]", fontsize=9)
        field.set_xlim(left=0)
        field.set_yticks(places, names if number % wide == 0 else [""] * len(names), fontsize=8)
        field.tick_params(axis="x", labelsize=7)
        field.locator_params(axis="x", nbins=5)
        field.margins(y=0.15)
    figure.suptitle("mean absolute error on held-out frames, 95 % intervals", fontsize=10)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()
