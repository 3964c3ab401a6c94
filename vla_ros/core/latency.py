"""How long an inference takes, told from what was measured without being fooled by it."""

from collections import deque

import numpy as np

from vla_ros.core.errors import ContractError


class LatencyEstimate:
    """The latency to reckon with: a quantile of the last ones, without those of the warm-up.

    The first inferences are slow (caches, compilation, a GPU's clock) and say nothing about what
    follows; a single slow one later does not move a quantile either.

    Args:
        warm_up: how many inferences after a start are not counted.
        window: how many are remembered.
        quantile: which of them is the estimate, 0 to 1.
        assumed_s: the estimate before anything is known [s].
    """

    def __init__(
        self, warm_up: int = 1, window: int = 50, quantile: float = 0.9, assumed_s: float = 0.3
    ):
        self._warm_up, self._quantile, self._assumed_s = warm_up, quantile, assumed_s
        self._latencies_s: deque[float] = deque(maxlen=window)
        self._left = warm_up

    @property
    def value_s(self) -> float:
        """The latency to reckon with [s]."""
        if not self._latencies_s:
            return self._assumed_s
        return float(np.quantile(np.array(self._latencies_s), self._quantile, method="higher"))

    def restart(self) -> None:
        """Expect a warm-up again; what is known stays."""
        self._left = self._warm_up

    def add(self, latency_s: float) -> None:
        """Note one inference; raises ContractError unless it is a time of 0 or more."""
        if not 0.0 <= latency_s < np.inf:
            raise ContractError(
                f"a latency must be 0 s or more, got {latency_s}; stamps and arrival must come "
                "from the same clock"
            )
        if self._left:
            self._left -= 1
        else:
            self._latencies_s.append(latency_s)
