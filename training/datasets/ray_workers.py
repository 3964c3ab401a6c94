"""Bags side by side on the machines of a Ray cluster, which see bags and dataset by the same paths.

Needs the extra `ray`. The shards are those of `workers`, to the byte.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from training.datasets.bag_shard import Settings
from training.datasets.side_by_side import Say
from training.datasets.workers import Done, convert_one
from training.provenance import code_version
from vla_ros.core.errors import DatasetError


def convert_on_ray(
    paths: list[Path], folder: Path, settings: Settings, address: str, say: Say
) -> Iterator[Done]:
    """Yield what became of each bag, as they are done, as many at a time as the cluster can take.

    Args:
        address: of the cluster, as `ray.init` takes it; "local" starts one on this machine.
        say: told of a bag's frames once it is done.

    Raises:
        DatasetError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DatasetError(
            "--ray needs Ray, which is not installed; pip install '.[ray]' in the checkout, or "
            "leave --ray away and use --workers"
        ) from None
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    except Exception as error:  # Ray raises many kinds, a bare Exception among them
        line = str(error).splitlines()[0]
        raise DatasetError(
            f"no Ray cluster at {address} ({line}); start one, or leave --ray away"
        ) from None
    try:
        # A bag whose worker dies is one failed bag, and not tried again on the spot.
        task = ray.remote(num_cpus=1, max_retries=0)(_convert)
        waiting = {task.remote(path, folder, settings): path for path in paths}
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            path = waiting.pop(ready)
            try:
                done, frames = ray.get(ready)
            except ray.exceptions.RayError as error:
                line = str(error).splitlines()[0]
                yield Done(path, None, f"its worker ended ({line})")
                continue
            say(path, "frames", frames)
            say(path, "done", frames)
            yield done
    finally:
        ray.shutdown()


def _convert(path: Path, folder: Path, settings: Settings) -> tuple[Done, int]:
    """Return what became of the bag, and how many frames that took; runs on some machine."""
    frames = 0

    def say(_: Path, what: str, number: int) -> None:
        nonlocal frames
        frames += number if what == "done" else 0

    # Of the checkout on that machine.
    settings = replace(settings, code=code_version())
    return convert_one(path, folder, settings, say), frames
