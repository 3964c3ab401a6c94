"""How the learning rate goes over a run."""

import math


def warm_up_and_cosine(peak: float, step: int, warmup_steps: int, steps: int) -> float:
    """Return the rate of step `step` (from 0): linear to `peak`, then a cosine to 0 at the end."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    phase = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * phase))
