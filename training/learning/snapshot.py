"""A run as it is at a step: what is written of it, and what it goes on from."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vla_ros.core.errors import CheckpointError

if TYPE_CHECKING:
    from training.learning.engine import Job


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        step: steps done.
        curve: (step, loss) of each step that was logged.
        seconds: that steps took, batches included, since the run was started or resumed.
    """

    step: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0


class Snapshot(NamedTuple):
    """A run as it is, in whole tensors: what the first process writes.

    Attributes:
        weights: that a checkpoint holds instead of the policy's own, by name.
        state: what training goes on from.
    """

    weights: dict[str, Tensor]
    state: dict


def take_snapshot(job: Job) -> Snapshot:
    """Return the run as it is, references where it can be; call it in each process."""
    own = {n: p.detach() for n, p in job.policy.named_parameters() if p.requires_grad}
    ema = None if job.ema is None else job.ema.state()
    state = {"optimizer": job.optimizer.state_dict(), "weights": own, "ema": ema}
    if not job.is_sharded:
        return Snapshot({} if job.ema is None else job.ema.weights(), state)
    from training.learning.sharding import gathered

    rest = {n: value for n, value in job.policy.state_dict().items() if n not in own}
    rest, state = (gathered(tree, job.world.is_first) for tree in (rest, state))
    averages = state["ema"]["averages"] if state["ema"] else {}
    return Snapshot({**rest, **state["weights"], **averages}, state)


def write_state(snapshot: Snapshot, progress: Progress, file: Path) -> None:
    """Write what `resume` goes on from: plain tensors and numbers, without a copy in memory.

    Raises:
        OSError: the disk refuses.
    """
    try:
        torch.save({**snapshot.state, "step": progress.step, "curve": progress.curve}, file)
    except RuntimeError as error:  # torch's name for a full disk
        raise OSError(errno.EIO, str(error).splitlines()[0], str(file)) from None


def resume(job: Job, file: Path) -> Progress:
    """Put a run's state into `job`, fresh from `make_job`, and return its progress.

    Raises:
        CheckpointError: the state is damaged, of another run, or a pickle of anything else.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
        own = {n: p for n, p in job.policy.named_parameters() if p.requires_grad}
        if set(own) != set(found["weights"]) or (found["ema"] is None) != (job.ema is None):
            raise ValueError("other parameters train")
        if job.is_sharded:
            _take_shares(found, job, own)
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(found["weights"][name])
        job.optimizer.load_state_dict(found["optimizer"])
        if job.ema is not None:
            job.ema.load(found["ema"])
        return Progress(found["step"], [tuple(point) for point in found["curve"]])
    except Exception as error:  # the reader of damaged bytes raises nearly anything
        reason = str(error).splitlines()[0][:80] if str(error) else ""
        raise CheckpointError(
            f"training state {file} is damaged, missing or of another run "
            f"({type(error).__name__}: {reason}); start this run again by "
            "--overwrite, without --resume"
        ) from None


def _take_shares(found: dict, job: Job, own: Mapping[str, Tensor]) -> None:
    """Replace whole tensors of a state by this process's share."""
    from training.learning.sharding import spread_like

    found["weights"] = {n: spread_like(found["weights"][n], p) for n, p in own.items()}
    parameters = (p for group in job.optimizer.param_groups for p in group["params"])
    for number, parameter in enumerate(parameters):
        moments = found["optimizer"]["state"].get(number, {})
        moments.update({name: spread_like(value, parameter) for name, value in moments.items()})
    if job.ema is not None:
        averages = found["ema"]["averages"]
        averages.update({n: spread_like(averages[n], a) for n, a in job.ema.averages.items()})
