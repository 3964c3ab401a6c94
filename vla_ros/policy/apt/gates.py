"""How far the gated fusions of an expert let its backbone in.

Legend: L fused layers, C channels of a gate (1 in the paper's form).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vla_ros.policy.apt.expert import AptExpert
from vla_ros.policy.apt.fusion import GatedFusion


@dataclass(frozen=True, eq=False)
class Gates:
    """The gates of fused layers, first to last.

    Attributes:
        slots: the layers' slots.
        values: (L, C) float32, sigmoid(w) as the equation of the fusion's form has it: in "code"
            the weight of the stream, 1 shuts the backbone out; in "paper" that of the backbone, 0
            shuts it out.
        backbone_share: (L,) float32, 0 to 1: of what a layer handed on, how much came from the
            backbone, |b| / (|a| + |b|) with Euclidean lengths over all tokens of stream a, after
            its gate, and feature b; the gates alone do not tell how large these are.
    """

    slots: tuple[int, ...]
    values: np.ndarray
    backbone_share: np.ndarray


class GateWatch:
    """What passes the fusions of an expert; see `watched`."""

    def __init__(self, expert: AptExpert):
        self._fusions = {
            int(slot): fusion
            for slot, fusion in expert.fusions.items()
            if isinstance(fusion, GatedFusion)
        }
        self._shares: dict[int, float] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at every pass of a scene through the expert in this context."""
        handles = [
            fusion.register_forward_hook(self._noting(slot))
            for slot, fusion in self._fusions.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def seen(self) -> Gates | None:
        """Return the gates and what passed them last; None where there is nothing to see.

        An expert in the style of pi or GR00T has no gates.
        """
        slots = sorted(self._shares)
        if not slots:
            return None
        gates = [self._fusions[slot].gate for slot in slots]
        values = np.stack([gate.detach().float().sigmoid().cpu().numpy() for gate in gates])
        share = np.array([self._shares[slot] for slot in slots], np.float32)
        return Gates(tuple(slots), values, share)

    def _noting(self, slot: int):
        def note(fusion: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(fusion, GatedFusion)
            with torch.no_grad():
                stream = inputs[0]
                kept = fusion.gate.sigmoid() * stream if fusion.form == "code" else stream
                of_stream, of_backbone = kept.norm(), (output - kept).norm()
                total = (of_stream + of_backbone).clamp_min(1e-12)
                self._shares[slot] = float(of_backbone / total)

        return note
