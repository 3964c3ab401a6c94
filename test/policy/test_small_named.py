from dataclasses import replace

import pytest
import torch

from vla_ros.core.errors import ContractError
from vla_ros.policy.small_config import toy_config
from vla_ros.policy.small_named import NamedPoints
from vla_ros.policy.small_vision import POINT_GAIN
from vla_ros.policy.small_vlm import SmallVlm


@pytest.fixture
def points():
    torch.manual_seed(0)
    made = NamedPoints(fine_channels=4, width=2, num_slots=2)
    with torch.no_grad():
        # A word (a, b) asks channel 0 by a and channel 1 by b.
        made.query.weight.zero_()
        made.query.weight[:2] = torch.eye(2)
        made.query.bias.zero_()
        made.weight.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 2.0]]]))
    return made


def cells(*hot: tuple[int, int]) -> torch.Tensor:
    """One sample, a picture for each pair: where in 2 x 2 cells channels 0 and 1 are high."""
    maps = torch.zeros(1, len(hot), 64, 4)
    for picture, pair in enumerate(hot):
        for channel, cell in enumerate(pair):
            maps[0, picture, channel, cell] = 100.0
    return maps


def test_each_word_points_at_the_cell_that_it_asks_for(points):
    words = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = points(torch.tensor([5, 7, 9]), words, cells((0, 3), (1, 2)))
    # Cells' centres are half way from the middle; a word that asks for nothing has the middle.
    half = POINT_GAIN / 2
    first, second = found.places[0].tolist()
    assert first == [[-half, -half], [half, half], [0.0, 0.0]]
    assert second == [[half, -half], [-half, half], [0.0, 0.0]]


def test_a_token_gets_the_points_of_all_pictures_of_its_sample(points):
    words = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = points(torch.tensor([5, 7]), words, cells((0, 3), (1, 2)))
    # Of the first picture (x, y), of the second (0, 2 y): (-4, -4 - 8) and (4, 4 + 8).
    added = points.added(found, torch.tensor([[7, 5], [5, 5]]), torch.tensor([0, 0]))
    assert added.tolist() == [[[4.0, 12.0], [-4.0, -12.0]], [[-4.0, -12.0], [-4.0, -12.0]]]


def test_a_model_without_named_points_has_no_heat():
    model = SmallVlm(toy_config())
    with pytest.raises(ContractError, match="named points"):
        model.heat(model.encode(torch.zeros(1, 1, 3, 32, 32)), ["carrot"])


@torch.no_grad()
def test_a_name_asks_by_the_mean_of_its_words_and_features_of_pictures_do_not_know_of_it():
    torch.manual_seed(0)
    model = SmallVlm(replace(toy_config(depth=2), named_points=True)).eval()
    images = torch.rand(1, 1, 3, 32, 32) * 2 - 1
    one, other = (model(images, [text], layers=(0, 1)) for text in ("ab", "cd"))
    in_picture = one.is_image[0]
    for layer in (0, 1):
        assert torch.equal(one.layers[layer][:, in_picture], other.layers[layer][:, in_picture])
    encoded = model.encode(images)
    # Of bytes alone " ab" is three words; their logits are linear in what they are embedded as.
    ids = model.tokenizer.prompts(["ab"], 16)[0]
    assert len(ids) == 3
    assert model.named is not None
    assert encoded.cells is not None
    each = model.named.heat(model._embed(ids), encoded.cells)
    torch.testing.assert_close(model.heat(encoded, ["ab"]), each.mean(2, keepdim=True))
