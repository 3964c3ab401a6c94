"""What is said of gates is what they are, and what they let through."""

import numpy as np
import pytest
import torch
from torch import nn

from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.expert import AptExpert
from vla_ros.policy.apt.fusion import GatedFusion
from vla_ros.policy.apt.gates import GateWatch


def expert_of(fusion, **config):
    """Return an expert of 4 slots on a backbone of width 2; its features pass as they are."""
    sizes = {"num_layers": 4, "width": 16, "num_heads": 1, "horizon": 2}
    expert = AptExpert(AptConfig(2, fusion=fusion, **(sizes | config)), 2, 4)
    for found in expert.fusions.values():
        nn.init.zeros_(found.projection.bias)
        nn.init.zeros_(found.projection.weight)
        with torch.no_grad():
            found.projection.weight[0, 0] = 1.0
    return expert


def pass_through(expert, slot, stream, feature):
    fusion = expert.fusions[str(slot)]
    assert isinstance(fusion, GatedFusion)
    x, phi = torch.zeros(1, 1, 16), torch.zeros(1, 1, 2)
    x[0, 0, 1], phi[0, 0, 0] = stream, feature
    fusion(x, phi)


@pytest.mark.parametrize(
    ("fusion", "channels", "expected"),
    # Gate 0.75 of the stream 4, the rest of the feature 1: 3 and 0.25; then as much of both.
    [("code", 16, [0.25 / 3.25, 0.5]), ("paper", 1, [0.75 / 4.75, 0.5 / 1.5])],
)
def test_gates_and_how_much_came_through_them(fusion, channels, expected):
    expert = expert_of(fusion)
    nn.init.constant_(expert.fusions["0"].gate, np.log(3.0))
    watch = GateWatch(expert)
    with watch.watched():
        pass_through(expert, 0, 9.0, 9.0)
        pass_through(expert, 0, 4.0, 1.0)  # the last one counts
        pass_through(expert, 2, 1.0, 1.0)
    pass_through(expert, 0, 0.0, 1.0)  # nobody looks any more
    seen = watch.seen()
    assert seen.slots == (0, 2)
    assert seen.values.shape == (2, channels)
    np.testing.assert_allclose(seen.values.mean(1), [0.75, 0.5], atol=1e-6)
    np.testing.assert_allclose(seen.backbone_share, expected, atol=1e-6)


def test_an_expert_without_gates_has_none_to_see():
    watch = GateWatch(expert_of("code", style="pi", language="token_insertion"))
    with watch.watched():
        pass
    assert watch.seen() is None
