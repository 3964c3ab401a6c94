"""Bags converted side by side: one that goes wrong costs its bag and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from training.datasets.bag_shard import Settings, shard_of_bag
from training.datasets.side_by_side import Say, side_by_side
from vla_ros.core.errors import VlaError


@dataclass(frozen=True)
class Done:
    """What became of one bag.

    Attributes:
        key: of its shard; None where there is none now, but may be another time.
        failure: what kept it from being converted.
        is_disk: whether the disk refused, so that the others will fare no better.
    """

    path: Path
    key: str | None
    failure: str = ""
    is_disk: bool = False


def convert_one(path: Path, folder: Path, settings: Settings, say: Say) -> Done:
    """Convert one bag here; what goes wrong with it is told, not raised."""
    try:
        key = shard_of_bag(path, folder, settings, lambda what, number: say(path, what, number))
    except VlaError as error:
        return Done(path, None, str(error))
    except OSError as error:  # what of the bag cannot be read has a name of its own
        return Done(path, None, error.strerror or str(error), is_disk=True)
    except MemoryError:
        return Done(path, None, "there is not enough memory")
    except Exception as error:  # whatever a damaged file makes of a reader
        return Done(path, None, f"the converter failed on it ({error!r}); leave it out")
    return Done(path, key)


def convert_side_by_side(
    paths: list[Path], folder: Path, settings: Settings, workers: int, say: Say
) -> Iterator[Done]:
    """Yield what became of each bag, as they are done, `workers` at a time.

    One worker is this process itself. More are spawned; they end when this process does.
    """
    if workers <= 1 or len(paths) <= 1:
        for path in paths:
            yield convert_one(path, folder, settings, say)
        return
    job = partial(_convert_elsewhere, folder=folder, settings=settings)
    for path, done in side_by_side(paths, job, workers, say):
        yield Done(path, None, done) if isinstance(done, str) else done


def _convert_elsewhere(path: Path, folder: Path, settings: Settings, say: Say) -> Done:
    cv2.setNumThreads(1)  # the others have the other processors
    return convert_one(path, folder, settings, say)
