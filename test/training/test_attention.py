"""Grad-CAM on toy numbers, and the command on a toy policy: a PNG, a film, refusals."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch

from training import attention
from training.datasets.video import read_video
from training.inspection.attention_maps import attention_maps
from training.inspection.attention_page import film
from training.learning.dataset import open_dataset
from training.learning.open_loop_frames import frames_of
from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.checkpoint import Checkpoint, save_checkpoint
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.small_config import toy_config
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig

SIDE = 32
SMALL = toy_config()


def policy_of(stage, head):
    """Return a toy policy with fixed random weights."""
    torch.manual_seed(0)
    tokenizer = FastTokenizer.fit(np.zeros((1, 1, 7)), 21) if head == "fast" else None
    return TapPolicy(SmallVlm(SMALL), TapConfig(stage, head=head, head_width=8), tokenizer).eval()


@pytest.fixture
def checkpoint():
    """Return a function that makes a checkpoint of a stage and head."""

    def make(stage, head="fast"):
        normalizer = Normalizer([-0.2] * 3 + [-1.0] * 3, [0.2] * 3 + [1.0] * 3)
        run = {"stage": stage, "config": {}}
        contract = tap_contract(image_size=SIDE)
        return Checkpoint(policy_of(stage, head), contract, run, normalizer)

    return make


@pytest.mark.parametrize("head", ["fast", "mlp"])
@pytest.mark.parametrize(("stage", "views"), [(1, 2), (2, 1)])
def test_each_frame_has_its_own_heat(checkpoint, dataset_path, stage, views, head):
    made = checkpoint(stage, head)
    dataset = open_dataset(dataset_path, SIDE)
    frames = frames_of(made, dataset, dataset.episodes[:1])
    rows = np.array([0, 3])
    heat = attention_maps(made, frames, rows, torch.device("cpu"))
    assert heat.shape == (2, views, SIDE // 4, SIDE // 4)
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    alone = attention_maps(made, frames, rows[1:], torch.device("cpu"))
    assert alone[0] == pytest.approx(heat[1], abs=1e-6)
    assert not np.allclose(heat[0], heat[1])
    assert all(parameter.grad is None for parameter in made.policy.parameters())


def test_what_does_not_reach_the_answer_has_no_heat(checkpoint, dataset_path):
    made = checkpoint(1, "mlp")
    slot = made.policy.vlm.points_weight
    dataset = open_dataset(dataset_path, SIDE)
    frames = frames_of(made, dataset, dataset.episodes[:1])
    with torch.no_grad():
        # Without keypoints and patches of any picture nothing of them reaches the answer.
        slot.zero_()
        made.policy.vlm.encoder.patch.weight.zero_()
    assert attention_maps(made, frames, np.array([2]), torch.device("cpu")).max() == 0


def test_chunks_have_heat_too(calibrated):
    torch.manual_seed(0)
    config = AptConfig(
        2, num_layers=4, width=16, num_heads=1, horizon=3, train_steps=10, sample_steps=2
    )
    policy = AptPolicy(SmallVlm(replace(SMALL, depth=4)), config).eval()
    # The head starts at zero, where nothing matters to it.
    torch.nn.init.normal_(policy.expert.tokens.head.weight)
    dataset = open_dataset(calibrated, SIDE)
    made = Checkpoint(
        policy, apt_contract("front", SIDE, horizon=3), {"stage": 2, "config": {}}, None
    )
    frames = frames_of(made, dataset, dataset.episodes[:1])
    heat = attention_maps(made, frames, np.array([0, 3]), torch.device("cpu"))
    assert heat.shape == (2, 1, SIDE // 4, SIDE // 4)
    assert heat.max() > 0
    alone = attention_maps(made, frames, np.array([3]), torch.device("cpu"))
    assert alone[0] == pytest.approx(heat[1], abs=1e-4 * heat.max())


def test_a_film_has_a_common_scale(checkpoint):
    pictures = np.full((2, 1, 8, 8, 3), 100, np.uint8)
    heat = np.zeros((2, 1, 2, 2))
    heat[1] = 1.0
    cold, hot = film(pictures, heat, ["a", "b"])
    assert cold.shape[0] % 2 == 0
    assert cold[10, 10].tolist() == [100, 100, 100]
    assert hot[10, 10].tolist() != [100, 100, 100]


@pytest.fixture
def saved(checkpoint, tmp_path):
    """Return the folder of a Stage 2 checkpoint."""
    save_checkpoint(checkpoint(2), tmp_path / "s2")
    return str(tmp_path / "s2")


def test_the_command_writes_a_picture_and_a_film(saved, dataset_path, tmp_path, capsys):
    out = tmp_path / "look.png"
    words = [saved, "--data", str(dataset_path), "--episode", "1", "--task", "push"]
    assert attention.main([*words, "--frame", "2", "--out", str(out)]) == 0
    assert matplotlib.image.imread(out).shape[0] == 700
    film_file = tmp_path / "look.mp4"
    assert attention.main([*words, "--video", "--out", str(film_file)]) == 0
    assert "8 frames" in capsys.readouterr().out
    assert len(list(read_video(film_file))) == 8


@pytest.mark.parametrize(("option", "value"), [("--episode", "6"), ("--frame", "8")])
def test_what_is_not_there_is_one_sentence(saved, dataset_path, tmp_path, capsys, option, value):
    words = [saved, "--data", str(dataset_path), option, value, "--out", str(tmp_path / "x.png")]
    assert attention.main(words) == 1
    assert f"choose another {option}" in capsys.readouterr().err
