"""What a run will cost, before it starts: parameters, memory, steps a second."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.learning.engine import Job, backward
from training.learning.precision import autocast

GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """Of one process.

    Attributes:
        trained, frozen: parameters by part, the first of the names that the policy gives.
        state_bytes: weights, gradients, AdamW's two moments and averages.
        activation_bytes: what one micro-batch keeps for the backward pass.
        steps_per_s: of loading, forward and backward; AdamW's own step is not in it.
    """

    trained: dict[str, int]
    frozen: dict[str, int]
    state_bytes: int
    activation_bytes: int
    steps_per_s: float

    def __str__(self) -> str:
        """Return the lines to print before a run."""
        lines = [
            f"{part}: {(self.trained[part]) / 1e6:.2f} M parameters train, "
            f"{self.frozen[part] / 1e6:.2f} M are frozen"
            for part in self.trained
        ]
        memory = (self.state_bytes + self.activation_bytes) / GIB
        return "\n".join(
            [
                *lines,
                f"memory: about {memory:.2f} GiB, {self.state_bytes / GIB:.2f} of weights and "
                f"optimiser, {self.activation_bytes / GIB:.2f} of activations, without libraries "
                "and data",
                f"speed: about {self.steps_per_s:.2f} steps/s",
            ]
        )


def measure(job: Job) -> Cost:
    """Return the cost by one step's passes; the weights stay as they are."""
    trained, frozen = {}, {}
    size = 0
    for name, parameter in job.policy.named_parameters():
        part = name.split(".", 1)[0]
        for counts in (trained, frozen):
            counts.setdefault(part, 0)
        (trained if parameter.requires_grad else frozen)[part] += parameter.numel()
        copies = 4 if parameter.requires_grad else 1
        size += copies * parameter.numel() * parameter.element_size()
    size += 4 * sum(trained.values()) if job.ema is not None else 0
    size //= job.world.size if job.is_sharded else 1
    kept = _activation_bytes(job)
    started = time.perf_counter()
    backward(job, job.micro_batches(0))
    seconds = time.perf_counter() - started
    job.optimizer.zero_grad(set_to_none=True)
    return Cost(trained, frozen, size, kept, 1 / seconds)


def _activation_bytes(job: Job) -> int:
    """Return the bytes that the graph of one micro-batch holds beside the parameters."""
    policy: Any = job.policy
    own = (p.to_local() if job.is_sharded else p for p in policy.parameters())
    weights = {tensor.untyped_storage().data_ptr() for tensor in own}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        autocast(job.world.device.type, job.config.bf16),
    ):
        # Held to the end, or a storage's place is used again and counted once.
        loss = job.loss(job.policy, job.micro_batches(0)[0])
    del loss
    return sum(found.values())
