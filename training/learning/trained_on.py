"""What a run and those before it learned from, as run.json tells, and splits that respect it.

Recordings are told by the hash of their content, so that one is known again in another dataset,
in another conversion and as a bag.
"""

from __future__ import annotations

import math
from collections import Counter

from training.learning.dataset import Dataset, Episode
from training.learning.splits import Split, cut_episodes, split_episodes
from vla_ros.core.errors import CheckpointError, DatasetError
from vla_ros.core.resample import NS_PER_S


class TrainedOn:
    """Recordings, and until when each was trained on: a time on its clock [ns]; None: all of it."""

    def __init__(self, until_ns: dict[str, int | None]):
        self.until_ns = until_ns

    @classmethod
    def by(cls, run: dict, with_earlier: bool = True) -> TrainedOn:
        """Return what a run learned from, and, `with_earlier`, those that it started from.

        Raises:
            CheckpointError: the run does not tell.
        """
        until_ns: dict[str, int | None] = {}
        told: dict | None = run
        while told is not None:
            try:
                rows = [row["trained"].items() for row in told["data"]]
                told = told.get("init") if with_earlier else None
            except (AttributeError, KeyError, TypeError) as error:
                raise CheckpointError(
                    "the checkpoint, or one that it started from, does not tell which recordings "
                    f"it was trained on ({error}); train it again with this version"
                ) from None
            for recording, until in (item for row in rows for item in row):
                known = until_ns.get(recording, until)
                if until is None or known is None:
                    until_ns[recording] = None
                else:
                    until_ns[recording] = max(until, known)
        return cls(until_ns)

    def parts(self, dataset: Dataset, episodes: list[Episode]) -> tuple[list, list]:
        """Return what of the dataset's episodes was trained on, and what was not."""
        rate_hz = dataset.contract.rate_hz
        frames = [self._end(episode, rate_hz) for episode in episodes]
        return cut_episodes(episodes, frames, rate_hz)

    def _end(self, episode: Episode, rate_hz: float) -> int:
        if episode.recording not in self.until_ns:
            return episode.first
        until = self.until_ns[episode.recording]
        if until is None:
            return episode.end
        # A hair less, as a frame's time is a whole number of nanoseconds.
        passed = (until - episode.start_ns) / NS_PER_S * rate_hz - 1e-3
        return episode.first + math.ceil(passed)


def note(dataset: Dataset, split: Split) -> dict:
    """Return what run.json says of a dataset that a run learns from, plain JSON."""
    ends = {}
    for episode in reversed(split.held_out):
        ends[episode.recording] = episode.start_ns
    return {
        "name": dataset.path.name,
        "sha256": dataset.sha256,
        "label": dataset.label,
        "trained": {e.recording: ends.get(e.recording) for e in split.trained},
        "left_out": split.left_out,
    }


def split_stage(
    datasets: list[Dataset], taken: list[list[Episode]], fraction: float, init: dict | None = None
) -> list[Split]:
    """Return the split of each dataset; see `split_episodes`.

    What was trained on before is not held out, and not trained on for that either: it is left out.

    Args:
        datasets: of the stage.
        taken: episodes of each.
        fraction: to hold out.
        init: run.json of the checkpoint that training starts from.

    Raises:
        CheckpointError: `init` does not tell what it learned from.
        DatasetError: a recording is in two of the datasets, or nothing is left to hold out.
    """
    _require_once(datasets, taken)
    splits = [split_episodes(d, t, fraction) for d, t in zip(datasets, taken, strict=True)]
    _require_held_out(datasets, splits, "the recordings are too few and too short")
    if init is not None:
        earlier = TrainedOn.by(init)
        splits = [
            _without(*earlier.parts(dataset, split.held_out), split)
            for dataset, split in zip(datasets, splits, strict=True)
        ]
        _require_held_out(datasets, splits, "an earlier stage was trained on all that would be")
    return splits


def _without(trained_on: list[Episode], others: list[Episode], split: Split) -> Split:
    return split._replace(held_out=others, left_out=len(trained_on))


def _require_once(datasets: list[Dataset], taken: list[list[Episode]]) -> None:
    counts = Counter(name for episodes in taken for name in {e.recording for e in episodes})
    for dataset, episodes in zip(datasets, taken, strict=True):
        twice = [e.bag for e in episodes if counts[e.recording] > 1]
        if twice:
            raise DatasetError(
                f"{len(twice)} episodes of {dataset.path}, bag {twice[0]} the first, are in "
                "another of the datasets, too; give each recording once"
            )


def _require_held_out(datasets: list[Dataset], splits: list[Split], why: str) -> None:
    if not any(split.held_out for split in splits):
        raise DatasetError(
            f"nothing of {', '.join(str(d.path) for d in datasets)} can be held out: {why}; record "
            "more"
        )
