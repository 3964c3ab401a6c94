"""Exponential moving average of what trains."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vla_ros.core.errors import CheckpointError


class Ema:
    """Averages of a policy's trainable parameters, in float32.

    The first updates weigh more: update n (from 1) keeps min(decay, (1 + n) / (10 + n)), so that
    random first weights are forgotten in a short run too.
    """

    def __init__(self, policy: nn.Module, decay: float):
        self.decay, self.num_updates = decay, 0
        self._parameters = {n: p for n, p in policy.named_parameters() if p.requires_grad}
        self.averages = {n: p.detach().float().clone() for n, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        self.num_updates += 1
        kept = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, parameter in self._parameters.items():
            self.averages[name].lerp_(parameter.detach().float(), 1 - kept)

    def weights(self) -> dict[str, Tensor]:
        """Return the averages by parameter name, each of its parameter's type."""
        return {n: a.to(self._parameters[n].dtype) for n, a in self.averages.items()}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the policy have the averages meanwhile."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        try:
            self._fill(self.weights())
            yield
        finally:
            self._fill(own)

    @torch.no_grad()
    def _fill(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])

    def state(self) -> dict:
        """Return what `load` takes."""
        return {"num_updates": self.num_updates, "averages": self.averages}

    def load(self, state: dict) -> None:
        """Go on from `state`; raises CheckpointError where other parameters trained."""
        if set(state["averages"]) != set(self.averages):
            raise CheckpointError(
                "averaged weights are of other parameters than train now; resume with the same "
                "options"
            )
        self.num_updates = state["num_updates"]
        for name, average in self.averages.items():
            average.copy_(state["averages"][name])
