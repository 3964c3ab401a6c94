"""What came of an experiment: JSON, a Markdown table beside the papers' numbers, and plots.

Only what is there is told: a cell without trials of all seeds says so. Rates are means over seeds
with the intervals of `statistics`, differences are taken trial by trial on the same layouts.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from training.datasets.files import write_text
from training.evidence.cells import CELLS
from training.evidence.claims import claims_of
from training.evidence.outcomes import Outcomes
from training.evidence.plan import Experiment, stages_of
from training.evidence.report_paper import NOTES, PAPER
from training.evidence.report_plots import plot_cells
from training.evidence.report_probe import SHOWN, readout_rows, readouts_of
from training.evidence.rows import CONTROL, Row, rows_of
from training.evidence.stages import Ledger
from training.evidence.statistics import Rate, difference_over_seeds, paired, rate_over_seeds
from training.provenance import code_version

_NOT_RUN = "not run"


def write_report(experiment: Experiment) -> str:
    """Write DIR/results/METHOD.json, .md and .png; return one line on where they are.

    Rows that this call was not asked for are told as well, as far as they are done.

    Raises:
        ExperimentError: trials cannot be read.
    """
    experiment = replace(experiment, rows=rows_of(experiment.method, experiment.scale))
    ledger = Ledger(experiment.out / "stages", stages_of(experiment))
    folder = experiment.out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = Outcomes.read(experiment, ledger)
    report = report_of(experiment, ledger, outcomes)
    path = folder / f"{experiment.method}.json"
    write_text(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_text(path.with_suffix(".md"), markdown(report))
    plot_cells(report, path.with_suffix(".png"))
    done = sum(row["measured"] for row in report["rows"])
    return f"{path.with_suffix('.md')}: {done} of {len(report['rows'])} rows measured"


def report_of(experiment: Experiment, ledger: Ledger, outcomes: Outcomes) -> dict:
    """Return all that is known, plain JSON types."""
    rows = []
    for row in rows_of(experiment.method, experiment.scale):
        control = CONTROL.get(row.name, "")
        cells = {}
        for cell in CELLS[experiment.method]:
            cells[cell.name] = {
                "scenario": cell.scenario,
                "entire": _rate(outcomes.table(row.name, cell.name, "success")),
                "partial": _rate(outcomes.table(row.name, cell.name, "partial")),
                "difference": _difference(outcomes, row.name, control, cell.name),
                "paper": PAPER[experiment.method].get(row.name, {}).get(cell.name),
            }
            if cell.asks[0].tasks[1:]:
                cells[cell.name]["second_task"] = _rate(
                    outcomes.table(row.name, cell.name, "second_task")
                )
        rows.append(
            {
                "name": row.name,
                "words": row.words,
                "control": control,
                "measured": all(cell["entire"] is not None for cell in cells.values()),
                "wall_h": _wall_h(experiment, ledger, row),
                "readout_cm": readouts_of(experiment, ledger, row),
                "cells": cells,
            }
        )
    return {
        "method": experiment.method,
        "scale": experiment.scale.name,
        "caution": experiment.scale.words,
        "seeds": list(experiment.seeds),
        "trials": experiment.scale.trials,
        "code_version": code_version(),
        "claims": claims_of(experiment, outcomes),
        "rows": rows,
        "commands": [
            ["python", "-m", *stage.command] for stage in ledger.stages if ledger.is_done(stage)
        ],
    }


def _rate(table: np.ndarray | None) -> dict | None:
    if table is None:
        return None
    return _plain(rate_over_seeds(table)) | {"by_seed": [round(float(r), 4) for r in table.mean(1)]}


def _plain(rate: Rate) -> dict:
    return {key: round(float(value), 4) for key, value in rate._asdict().items()}


def _difference(outcomes: Outcomes, row: str, control: str, cell: str) -> dict | None:
    """Return how much better a row is than its control, and McNemar's p of each seed."""
    first, second = (outcomes.table(name, cell, "success") for name in (row, control))
    if first is None or second is None:
        return None
    return _plain(difference_over_seeds(first, second)) | {
        "mcnemar_p_by_seed": [
            round(paired(one, other).p_value, 5) for one, other in zip(first, second, strict=True)
        ]
    }


def _wall_h(experiment: Experiment, ledger: Ledger, row: Row) -> dict[str, float]:
    """Return the hours that a row's own stages took, and its Stage 1, of all seeds together."""
    names: dict[str, list[str]] = {
        "stage 1": [f"stage1/{row.first}-s{seed}" for seed in experiment.seeds if row.first],
        "stage 2": [f"stage2/{row.name}-s{seed}" for seed in experiment.seeds],
        "roll-outs": [f"rollouts/{row.name}-s{seed}" for seed in experiment.seeds],
    }
    spent: dict[str, float] = {}
    for stage in ledger.stages:
        for what, own in names.items():
            if stage.name in own and ledger.is_done(stage):
                spent[what] = spent.get(what, 0.0) + ledger.marker(stage)["wall_s"] / 3600
    return {what: round(hours, 3) for what, hours in spent.items()}


# --- Markdown ---


def markdown(report: dict) -> str:
    """Return the report as Markdown."""
    cells = list(report["rows"][0]["cells"])
    lines = [f"# {report['method'].upper()}: what was measured", ""]
    if report["caution"]:
        lines += [f"**{report['caution']}**", ""]
    lines += [
        f"Scale {report['scale']}, seeds {', '.join(map(str, report['seeds']))}, "
        f"{report['trials']} trials a cell and seed, code {report['code_version']}. Percent, with "
        f"95 % intervals over seeds and trials; “{_NOT_RUN}” where not all trials of all seeds are "
        "there.",
        "",
        "## Claims",
        "",
        *_table(
            ["claim", "asked for", "measured", "verdict"],
            [
                [claim["claim"], claim["target"], _shown(claim["measured"]), claim["verdict"]]
                for claim in report["claims"]
            ],
        ),
    ]
    for what, title in (("entire", "Entire success"), ("partial", "Partial success")):
        lines += ["", f"## {title}", ""]
        rows = []
        for row in report["rows"]:
            found = [_cell(row, name, what) for name in cells]
            rows.append([row["words"], *found])
            theirs = [row["cells"][name]["paper"] for name in cells]
            if what == "entire" and any(rate is not None for rate in theirs):
                rows.append(["*paper*", *("" if rate is None else f"*{rate}*" for rate in theirs)])
        lines += _table(["row", *cells], rows)
    lines += ["", NOTES[report["method"]], "", *_differences(report, cells)]
    if readouts := readout_rows(report):
        lines += ["", "## What the features hold", ""]
        lines += ["Mean error [cm] of linear read-out on pictures that nothing was trained on.", ""]
        lines += _table(["features", *SHOWN], readouts)
    lines += ["", "## Hours", "", *_hours(report), "", "## Commands", "", "```"]
    lines += [" ".join(_quoted(command)) for command in report["commands"]]
    return "\n".join([*lines, "```", ""])


def _differences(report: dict, cells: list[str]) -> list[str]:
    lines = ["## Differences on the same layouts", "", "Points of entire success.", ""]
    rows = []
    for row in report["rows"]:
        if row["control"]:
            found = [_shown(row["cells"][name]["difference"]) for name in cells]
            rows.append([f"{row['name']} − {row['control']}", *found])
    return [*lines, *_table(["rows", *cells], rows)]


def _hours(report: dict) -> list[str]:
    kinds = ("stage 1", "stage 2", "roll-outs")
    rows = [
        [row["words"], *(f"{row['wall_h'][k]:.2f}" if k in row["wall_h"] else "" for k in kinds)]
        for row in report["rows"]
    ]
    return _table(["row, all seeds", *kinds], rows)


def _cell(row: dict, name: str, what: str) -> str:
    shown = _shown(row["cells"][name][what])
    if what == "entire" and row["cells"][name].get("second_task"):
        shown += f", second task {_shown(row['cells'][name]['second_task'])}"
    return shown


def _shown(rate: dict[str, Any] | None) -> str:
    if rate is None:
        return _NOT_RUN
    mean, low, high = (100 * rate[key] for key in ("mean", "low", "high"))
    return f"{mean:.0f} [{low:.0f}, {high:.0f}]"


def _quoted(command: Sequence[str]) -> list[str]:
    return [f'"{part}"' if " " in part else part for part in command]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
