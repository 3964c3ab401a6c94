"""Which episodes a stage learns from, and which are held out."""

import hashlib
import math
from dataclasses import replace
from typing import NamedTuple

from training.learning.dataset import Dataset, Episode
from vla_ros.core.errors import DatasetError
from vla_ros.core.resample import NS_PER_S

STAGE_1_RULE = "play and policy episodes whatever their outcome, and demonstrations that failed"
STAGE_2_RULE = "demonstrations that were judged a success"
STAGE_2_KINDS = ["demo"]
# A pair of frames needs two.
LEAST_FRAMES = 2


def stage_1_episodes(dataset: Dataset, kinds: list[str] | None = None) -> list[Episode]:
    """Return the episodes for Stage 1: STAGE_1_RULE; or all of `kinds`, if given.

    What happened between two pictures is true whether or not it was what somebody wanted.

    Raises:
        DatasetError: none is left; says what there is.
    """
    return _chosen(
        dataset,
        [
            episode
            for episode in dataset.episodes
            if (kinds is not None and episode.kind in kinds)
            or (kinds is None and _belongs_to_stage_1(episode))
        ],
        STAGE_1_RULE if kinds is None else ", ".join(kinds),
    )


def _belongs_to_stage_1(episode: Episode) -> bool:
    failed = episode.kind == "demo" and episode.success is False
    return episode.kind in ("play", "policy") or failed


def stage_2_episodes(dataset: Dataset, kinds: list[str] | None = None) -> list[Episode]:
    """Return the episodes for Stage 2: those of `kinds` (STAGE_2_KINDS) judged a success.

    Raises:
        DatasetError: none is left; says what there is.
    """
    wanted = STAGE_2_KINDS if kinds is None else kinds
    return _chosen(
        dataset,
        [e for e in dataset.episodes if e.kind in wanted and e.success is True],
        STAGE_2_RULE if kinds is None else f"{', '.join(kinds)} judged a success",
    )


def _chosen(dataset: Dataset, episodes: list[Episode], wanted: str) -> list[Episode]:
    if not episodes:
        present = sorted({episode.kind for episode in dataset.episodes})
        raise DatasetError(
            f"{dataset.path} has no usable episode ({wanted}); it has {len(dataset.episodes)} of "
            f"kind {', '.join(present)}: give other data or --kinds"
        )
    return episodes


class Split(NamedTuple):
    """Episodes of one dataset, and parts of some, in the dataset's order.

    `left_out`: episodes on neither side, as an earlier stage was trained on them.
    """

    trained: list[Episode]
    held_out: list[Episode]
    left_out: int = 0

    @property
    def sides(self) -> tuple[list[Episode], list[Episode]]:
        """Those to train on, and those held out."""
        return self.trained, self.held_out


def split_episodes(dataset: Dataset, taken: list[Episode], fraction: float) -> Split:
    """Return which of `taken` to train on and which to hold out, at most `fraction` of them.

    A recording is decided as a whole, by a hash of its own content and by its fellows: the
    recordings of the dataset that have the same kind and outcome, taken or not. So the decision is
    the same in both stages, with every seed and every --kinds.

    Held out are those whose hash is below `fraction`; if there are none, the one nearest to it; of
    too many, those with the smallest hashes, up to `fraction` of all fellows, rounded up: of few
    recordings, chance would hold out most. A recording without a fellow is cut in time, its end
    held out, or trained on if it is too short. So recordings that come later move another from
    training to the held-out only where they are the first fellows of a lone one, or where there
    were too many to hold out and now more of them may be; `trained_on.split_stage` sees to these.

    Args:
        dataset: whole, as it decides who is whose fellow.
        taken: episodes of it.
        fraction: from 0 to 1.
    """
    held_out_from = _held_out_from(dataset.episodes, fraction)
    frames = [held_out_from[episode.recording] for episode in taken]
    return Split(*cut_episodes(taken, frames, dataset.contract.rate_hz))


def _held_out_from(episodes: list[Episode], fraction: float) -> dict[str, int]:
    """Return for each recording the first frame that is held out; its end where none is."""
    pieces: dict[str, list[Episode]] = {}
    for episode in episodes:
        pieces.setdefault(episode.recording, []).append(episode)
    fellows: dict[tuple, list[str]] = {}
    for recording, (first, *_) in pieces.items():
        fellows.setdefault((first.kind, first.success), []).append(recording)
    found = {}
    for recordings in fellows.values():
        order = sorted(recordings, key=_place)
        below = sum(_place(recording) < fraction for recording in order)
        num_held_out = min(max(below, 1), _most(len(order), fraction), len(order) - 1)
        for number, recording in enumerate(order):
            own = pieces[recording]
            if len(order) == 1:
                found[recording] = _cut(own, fraction)
            else:
                found[recording] = own[0].first if number < num_held_out else own[-1].end
    return found


def _most(count: int, fraction: float) -> int:
    """Return how many of `count` fellows are held out at most."""
    return max(1, math.ceil(count * fraction - 1e-9))


def _place(recording: str) -> float:
    """Return the place of a recording in [0, 1): the same number for ever."""
    digest = hashlib.sha256(f"held out? {recording}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _cut(pieces: list[Episode], fraction: float) -> int:
    """Return the frame that a recording without fellows is cut at; its end if it is too short."""
    first, end = pieces[0].first, pieces[-1].end
    cut = end - max(LEAST_FRAMES, round((end - first) * fraction))
    return cut if cut - first >= LEAST_FRAMES else end


def cut_episodes(
    episodes: list[Episode], frames: list[int], rate_hz: float
) -> tuple[list[Episode], list[Episode]]:
    """Return what of each episode is before, and what is from its frame of `frames` on."""
    before, after = [], []
    for episode, frame in zip(episodes, frames, strict=True):
        if frame > episode.first:
            before.append(replace(episode, end=min(frame, episode.end)))
        if frame < episode.end:
            first = max(frame, episode.first)
            passed_ns = round((first - episode.first) / rate_hz * NS_PER_S)
            after.append(replace(episode, first=first, start_ns=episode.start_ns + passed_ns))
    return before, after


def check_told(dataset: Dataset, episodes: list[Episode]) -> None:
    """Raise DatasetError where a demonstration has no instruction for Stage 2 to learn from."""
    silent = [episode.bag for episode in episodes if not episode.task.strip()]
    if silent:
        raise DatasetError(
            f"{dataset.path} has no instruction for {len(silent)} demonstrations, bag {silent[0]} "
            "the first; Stage 2 learns from instructions: record them with one, or leave them out"
        )
