import pytest
import torch

from training.learning.grounding import Shown
from training.learning.sight import Sight, sight_loss
from vla_ros.policy.small_config import toy_config
from vla_ros.policy.small_vlm import SmallVlm


class FixedSight(Sight):
    """Sees each name at the same place in every picture."""

    def forward(self, pictures):
        places = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.5, 0.0, 0.0]])
        return places.expand(len(pictures), -1, -1)


@pytest.fixture
def vlm():
    torch.manual_seed(0)
    return SmallVlm(toy_config(depth=2)).eval()


def test_loss_is_of_what_shows_whatever_else_there_is(vlm):
    sight = FixedSight(("gripper", "apple", "carrot"), vlm.width)
    encoded = vlm.encode(torch.rand(2, 1, 3, 32, 32))
    # The apple in picture 0, as it is seen; the carrot in picture 1, one unit off along y.
    shown = Shown(
        ["apple", "carrot"],
        torch.tensor([0, 1]),
        torch.tensor([0, 1]),
        torch.zeros(2, 2),
        torch.tensor([[1.0, 2.0, 3.0], [0.5, 1.0, 0.0]]),
    )
    # Five numbers are right; one is off by 1, and counts 1 - beta / 2 with beta = 0.2.
    assert sight_loss(sight, vlm, encoded, shown).item() == pytest.approx(0.9 / 6)


def test_what_is_seen_comes_from_the_picture_alone_and_teaches_it(vlm):
    sight = Sight(("gripper", "apple"), vlm.width)
    encoded = vlm.encode(torch.rand(1, 1, 3, 32, 32))
    zero = torch.tensor([0])
    shown = Shown(["apple"], zero, zero, torch.zeros(1, 2), torch.ones(1, 3))
    sight_loss(sight, vlm, encoded, shown).backward()
    stem = next(vlm.encoder.trunk.parameters()).grad
    assert stem is not None
    assert stem.abs().sum() > 0
    assert vlm.rows.grad is None or not vlm.rows.grad.abs().sum()
