"""What is known of the noise before any network: ours, off by default (`AptConfig.precondition`).

Chunks are metres, a few hundredths each, and the noise in them has deviation 1 (paper and code). To
place a tool to a centimetre, a network has to hand its noisy input through to its output to one
part in a hundred before anything that it sees matters; the authors have 100k steps of 256 for that.
If numbers of chunks were normal, of the mean and deviation that training data have, the best guess
of the noise would be linear in the noisy chunk. Here the network is given the noisy chunk at unit
deviation and learns what the guess leaves open, as in EDM (Karras et al. 2022, arXiv 2206.00364,
section 5). Chunks, noise and sampling stay as they are.

The loss, too, with "linear": then an error counts in metres, wherever it is, and of a chunk of
seconds the first step, a few centimetres that the arm does next, is a hundredth. With "edm" the
loss is of the network's own answer, as EDM weighs it: each number of each step counts in units of
its own deviation, at all levels of noise alike.

Legend: B batch, E arms, H horizon.
"""

import torch
from torch import Tensor, nn

from vla_ros.core.chunks import CHUNK_SIZE
from vla_ros.policy.apt.diffusion import signal_power

# Numbers that hardly move in the data, such as a rotation's at the first step, shall not explode.
SMALLEST_DEVIATION = 0.005


class LinearGuess(nn.Module):
    """The guess, and the scales around it; says nothing until `fit` has told mean and deviation."""

    mean: Tensor
    deviation: Tensor
    power: Tensor

    def __init__(self, horizon: int, num_steps: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(horizon, CHUNK_SIZE))
        self.register_buffer("deviation", torch.ones(horizon, CHUNK_SIZE))
        self.register_buffer("power", torch.tensor(signal_power(num_steps)), persistent=False)

    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Take mean and deviation (H, 10) of true chunks."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp(min=SMALLEST_DEVIATION))

    def inputs(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """Return noisy chunks (B, E, H, 10) after `steps` (B or 1,), centred and of deviation 1."""
        power = self._power(steps)
        return (noisy - power.sqrt() * self.mean) / self._variance(power).sqrt()

    def noise(self, answer: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """Return the noise in `noisy` (B, E, H, 10) by the guess and a network's answer."""
        power = self._power(steps)
        variance = self._variance(power)
        guess = (1 - power).sqrt() / variance * (noisy - power.sqrt() * self.mean)
        return guess + power.sqrt() * self.deviation / variance.sqrt() * answer

    def answer(self, chunks: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Return the answer (B, E, H, 10) with which `noise` is right for these chunks and noise.

        `noise` solved for it, with the noisy chunk written out; of deviation 1.
        """
        power = self._power(steps)
        off = (chunks - self.mean) / self.deviation
        numerator = power.sqrt() * self.deviation * noise - (1 - power).sqrt() * off
        return numerator / self._variance(power).sqrt()

    def _power(self, steps: Tensor) -> Tensor:
        return self.power[steps].view(-1, 1, 1, 1)

    def _variance(self, power: Tensor) -> Tensor:
        return 1 - power + power * self.deviation**2
