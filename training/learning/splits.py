"""Which episodes a stage learns from, and which are held out."""

from dataclasses import replace

import numpy as np

from training.learning.dataset import Dataset, Episode
from vla_ros.core.errors import DatasetError

STAGE_1_RULE = "play and policy episodes whatever their outcome, and demonstrations that failed"
STAGE_2_RULE = "demonstrations that were judged a success"
STAGE_2_KINDS = ["demo"]


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


def split_episodes(
    episodes: list[Episode], fraction: float, seed: int
) -> tuple[list[Episode], list[Episode]]:
    """Return episodes to train on and episodes to hold out, about `fraction` of them.

    Pieces of one bag stay together where there are several bags. A lone episode is cut in time,
    its end held out.

    Raises:
        DatasetError: a lone episode is too short to be cut.
    """
    bags = sorted({episode.bag for episode in episodes})
    groups = (
        [[e for e in episodes if e.bag == bag] for bag in bags]
        if len(bags) > 1
        else [[episode] for episode in episodes]
    )
    if len(groups) == 1:
        (episode,) = groups[0]
        held_out = max(2, round((episode.end - episode.first) * fraction))
        if episode.end - episode.first - held_out < 2:
            raise DatasetError(
                f"the only episode has {episode.end - episode.first} frames, too few to hold some "
                "out; record more"
            )
        cut = episode.end - held_out
        return [replace(episode, end=cut)], [replace(episode, first=cut)]
    order = np.random.default_rng([seed, 7]).permutation(len(groups))
    num_held_out = min(len(groups) - 1, max(1, round(len(groups) * fraction)))
    held_out, trained = order[:num_held_out], order[num_held_out:]
    return (
        [e for index in sorted(trained) for e in groups[index]],
        [e for index in sorted(held_out) for e in groups[index]],
    )


def check_told(dataset: Dataset, episodes: list[Episode]) -> None:
    """Raise DatasetError where a demonstration has no instruction for Stage 2 to learn from."""
    silent = [episode.bag for episode in episodes if not episode.task.strip()]
    if silent:
        raise DatasetError(
            f"{dataset.path} has no instruction for {len(silent)} demonstrations, bag {silent[0]} "
            "the first; Stage 2 learns from instructions: record them with one, or leave them out"
        )
