"""The outcomes of an experiment's trials, as tables (seeds, trials) of 0 and 1."""

import json
from typing import Literal

import numpy as np

from training.evidence.cells import CELLS
from training.evidence.plan import Experiment
from training.evidence.stages import ExperimentError, Ledger

What = Literal["success", "partial", "second_task"]


class Outcomes:
    """What came of each trial, by row, cell and seed.

    Args:
        records: by row and seed the trials of all cells, as `training.evidence.rollouts` writes
            them.
        seeds, trials: how many there have to be.
    """

    def __init__(
        self, records: dict[tuple[str, int], list[dict]], seeds: tuple[int, ...], trials: int
    ):
        self._seeds, self._trials = seeds, trials
        self._found: dict[tuple[str, int, str], dict[int, dict]] = {}
        for (row, seed), found in records.items():
            for record in found:
                cell = self._found.setdefault((row, seed, record["cell"]), {})
                cell[record["trial"]] = record

    @classmethod
    def read(cls, experiment: Experiment, ledger: Ledger) -> "Outcomes":
        """Return what is done of an experiment, nothing of before something changed.

        Raises:
            ExperimentError: a file cannot be read.
        """
        records = {}
        done = {stage.name for stage in ledger.stages if ledger.is_done(stage)}
        for row in experiment.rows:
            for seed in experiment.seeds:
                path = experiment.result(row, seed)
                if f"rollouts/{row.name}-s{seed}" not in done:
                    continue
                try:
                    records[row.name, seed] = json.loads(path.read_text())["trials"]
                except (OSError, ValueError, KeyError) as error:
                    raise ExperimentError(
                        f"{path} cannot be read ({error!r}); delete it, and roll out again"
                    ) from None
        return cls(records, experiment.seeds, experiment.scale.trials)

    def table(self, row: str, cell: str, what: What) -> np.ndarray | None:
        """Return (S, T) of 0 and 1; None where a trial of a seed is not there."""
        rows = []
        for seed in self._seeds:
            found = self._found.get((row, seed, cell), {})
            if any(trial not in found for trial in range(self._trials)):
                return None
            rows.append([_value(found[trial], what) for trial in range(self._trials)])
        return np.array(rows, np.float64)

    def tables(self, row: str, cells: list[str], what: What = "success") -> np.ndarray | None:
        """Return (C, S, T) of several cells; None where one is not whole."""
        found = [self.table(row, cell, what) for cell in cells]
        whole = [table for table in found if table is not None]
        return np.stack(whole) if len(whole) == len(cells) else None


def _value(record: dict, what: What) -> bool:
    if what == "second_task":
        return record["tasks_success"][1]
    return record[what]


def cell_names(method: str, *scenarios: str) -> list[str]:
    """Return the names of a method's cells of these scenarios; of none given, of all."""
    return [cell.name for cell in CELLS[method] if not scenarios or cell.scenario in scenarios]
