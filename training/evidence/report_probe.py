"""What the features of an experiment's rows hold: results of `training.evidence.probe`."""

import json

import numpy as np

from training.evidence.plan import Experiment
from training.evidence.rows import Row
from training.evidence.stages import ExperimentError, Ledger

# What the tasks of the tables are about; results have all.
SHOWN = ("gripper", "carrot", "pumpkin", "plate")
CONSTANT = "constant"


def readouts_of(experiment: Experiment, ledger: Ledger, row: Row) -> dict[str, dict[str, float]]:
    """Return {"constant", "stage 1", "stage 2": {what: mean over seeds [cm]}} of a row.

    Empty where a seed is not done; without "stage 1" where the row has none.

    Raises:
        ExperimentError: a file cannot be read.
    """
    found: dict[str, dict[str, list[float]]] = {}
    done = {stage.name for stage in ledger.stages if ledger.is_done(stage)}
    for seed in experiment.seeds:
        if f"probe/{row.name}-s{seed}" not in done:
            return {}
        path = experiment.probe(row, seed)
        names = {CONSTANT: CONSTANT, "stage 2": experiment.checkpoint(row, seed).name}
        if row.first:
            names["stage 1"] = experiment.first_checkpoint(row, seed).name
        try:
            errors = json.loads(path.read_text())["readout_cm"]
            for what, by_name in errors.items():
                for stage, name in names.items():
                    found.setdefault(stage, {}).setdefault(what, []).append(float(by_name[name]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExperimentError(
                f"{path} cannot be read ({error!r}); delete it, and probe again"
            ) from None
    return {
        stage: {what: round(float(np.mean(errors)), 2) for what, errors in by_what.items()}
        for stage, by_what in found.items()
    }


def readout_rows(report: dict) -> list[list[str]]:
    """Return the table's rows: each row of the experiment, by what is read out."""
    rows = []
    for row in report["rows"]:
        found = row["readout_cm"]
        if found and not rows:
            rows.append(["always the mean place", *_cells(found[CONSTANT])])
        for stage in ("stage 1", "stage 2"):
            if stage in found:
                rows.append([f"{row['words']}, after {stage}", *_cells(found[stage])])
    return rows


def _cells(errors: dict[str, float]) -> list[str]:
    return [f"{errors[what]:.1f}" if what in errors else "" for what in SHOWN]
