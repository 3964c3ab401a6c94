import json
import os
import re
import signal
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from training import pretrain_vlm
from training.learning.caption_answers import _summary
from training.learning.caption_data import Captions, open_captions
from training.learning.pointing import (
    PLACE_WORDINGS,
    Taught,
    draw_points,
    draw_told,
    evaluate_pointing,
)
from training.learning.readout import ridge_error_m
from vla_ros.core.errors import CheckpointError, DatasetError
from vla_ros.policy.small_files import load_small_vlm
from vla_ros.policy.text_tokens import PADDING
from vla_ros.sim.caption_wordings import WORDINGS

pytestmark = pytest.mark.usefixtures("no_compiler")


@pytest.fixture
def captions(write_captions):
    """Return a folder of 40 pictures with a bright square; frames 19 and 39 are held out."""
    return write_captions(40, shows_apple=True)


def _arguments(captions, out, *more):
    return pretrain_vlm.parse_arguments(
        ["--data", str(captions), "--out", str(out), "--recipe", "tiny", *more]
    )


def test_two_steps_write_a_backbone_and_what_it_can(captions, tmp_path):
    out = tmp_path / "backbone"
    metrics = pretrain_vlm.train(_arguments(captions, out))
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert metrics["steps"] == 2
    assert set(metrics["answers"]["seen"]) == {"gripper_height", "where_picture"}
    assert metrics["answers"]["wording"]["opening"]["count"] == 1
    assert set(metrics["readout_cm"]["gripper"]) == {"constant", "pretrained", "untrained"}
    model = load_small_vlm(out)
    assert model.config.image_size == 32
    assert not model.training


def test_resumed_run_ends_with_the_same_weights(captions, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain_vlm.train(_arguments(captions, whole))
    pretrain_vlm.train(_arguments(captions, parts), stop_after=1)
    with pytest.raises(CheckpointError, match="done 1 of 2 steps; go on with it by --resume"):
        pretrain_vlm.train(_arguments(captions, parts))
    pretrain_vlm.train(_arguments(captions, parts, "--resume"))
    first, second = (load_small_vlm(folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(CheckpointError, match="another run"):
        pretrain_vlm.train(_arguments(captions, parts, "--resume", "--seed", "1"))


def test_averages_are_what_is_kept_and_training_goes_on_from_the_weights(
    captions, tmp_path, monkeypatch
):
    averaged = replace(pretrain_vlm.tiny(), ema_decay=0.5)
    monkeypatch.setitem(pretrain_vlm.RECIPES, "tiny", lambda: averaged)
    pretrain_vlm.train(_arguments(captions, tmp_path / "b"), stop_after=1)
    state = torch.load(tmp_path / "b" / "training_state.pt", weights_only=True)
    averages, kept = state["ema"]["averages"], load_small_vlm(tmp_path / "b").state_dict()
    averages = {n.removeprefix("vlm."): a for n, a in averages.items() if n.startswith("vlm.")}
    assert averages.keys() == kept.keys()
    assert all(torch.equal(kept[name], average) for name, average in averages.items())
    own = state["weights"]
    assert not all(torch.equal(own[f"vlm.{name}"], averages[name]) for name in averages)


def test_ctrl_c_ends_the_step_and_saves(captions, tmp_path, capfd, monkeypatch):
    real, signals = Captions.draw, [signal.SIGINT]

    def draw(*given):
        if signals:
            os.kill(os.getpid(), signals.pop())
        return real(*given)

    monkeypatch.setattr(Captions, "draw", draw)
    arguments = ["--data", str(captions), "--out", str(tmp_path / "b"), "--recipe", "tiny"]
    assert pretrain_vlm.main(arguments) == 130
    assert "stopped after step 1, which is saved: go on with --resume" in capfd.readouterr().err
    assert json.loads((tmp_path / "b/run.json").read_text())["steps_done"] == 1


def test_held_out_questions_and_frames_are_not_learned_from(captions):
    data = open_captions(captions, 32)
    assert data.held_out.tolist() == [19, 39]
    rng = np.random.default_rng(0)
    for _ in range(20):
        frames, prompts, answers = data.draw(rng, 4, 2)
        assert not set(frames) & {19, 39}
        assert "secret" not in answers
        assert len(prompts) == 8
    assert "never learn this" not in data.sentences()


def test_captions_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="has no captions"):
        open_captions(tmp_path, 32)


def test_captions_of_an_older_version_are_refused(captions):
    (shard,) = captions.glob("shard-*")
    pq.write_table(pq.read_table(shard).drop_columns(["gripper_uv"]), shard)
    with pytest.raises(DatasetError, match="older version"):
        open_captions(captions, 32)


def test_places_in_the_picture_are_of_what_shows(captions):
    data = open_captions(captions, 32)
    assert data.names == ["gripper", "apple"]
    # The apple shows in odd frames; its middle is 3 px right of column 2 * (frame % 12).
    assert set(data.places_uv(0)) == {"gripper"}
    seen = data.places_uv(1)
    assert set(seen) == {"gripper", "apple"}
    assert seen["apple"] == pytest.approx([5 / 32, 13 / 32])


def test_questions_of_like_length_go_together_and_keep_their_picture():
    answers = torch.tensor([[5, 6, 7], [8, 1, PADDING], [9, PADDING, PADDING], [4, 1, PADDING]])
    groups = pretrain_vlm.by_length(["a", "b", "c", "d"], answers, per_picture=2)
    assert [(g.about.tolist(), g.prompts, g.answers.tolist()) for g in groups] == [
        ([1], ["c"], [[9]]),
        ([0], ["b"], [[8, 1]]),
        ([1], ["d"], [[4, 1]]),
        ([0], ["a"], [[5, 6, 7]]),
    ]


def test_error_of_places_is_in_pixels_and_centimetres():
    asked = {"answer": "10 20"}
    told = [(asked, 1, 2, "13 24"), (asked, 1, 2, "here")]
    result = _summary("where_picture", told, 200)
    assert result["error_px"] == pytest.approx(10.0)  # 3, 4 hundredths of 200 px
    assert result["unreadable"] == pytest.approx(0.5)
    asked = {"answer": "x 0 y 0 z 0"}
    assert _summary("where_place", [(asked, 1, 2, "x 0 y -30 z 40")], 200)["error_cm"] == 5.0


def test_ridge_reads_out_what_is_linear_and_nothing_else():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 10)).astype(np.float32)
    places = features[:, :3] * 0.1 + 0.2
    exact = ridge_error_m(features[:100], places[:100], features[100:], places[100:])
    assert exact < 1e-3
    noise = rng.normal(size=(120, 10)).astype(np.float32)
    assert ridge_error_m(noise[:100], places[:100], noise[100:], places[100:]) > 0.1


def test_folder_with_other_things_is_not_replaced(captions, tmp_path):
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "text").write_text("dear diary")
    with pytest.raises(CheckpointError, match="not replaced"):
        pretrain_vlm.train(_arguments(captions, tmp_path / "diary"))


def test_each_thing_is_pointed_at_where_it_is_and_no_oftener_than_it_shows(captions):
    data = open_captions(captions, 32)
    pointed = draw_points(data, np.random.default_rng(0), np.array([3, 4]), 1)
    assert pointed.asked.about.tolist() == [0, 1]
    assert pointed.asked.answers.shape == (2, 0)
    every = draw_points(data, np.random.default_rng(0), np.array([3]), 100)
    shown = [thing for thing in data.table["things"][3].as_py() if thing["is_seen"]]
    names = [name for (name,) in every.kinds]
    assert sorted(names) == sorted(["gripper", *(thing["name"] for thing in shown)])
    row = names.index("gripper")
    x, y, z = data.table["gripper_m"][3].as_py()
    # From 0.25 m in front of the base and 5 cm above the table, in tenths of a metre.
    place = pytest.approx([10 * x - 2.5, 10 * y, 10 * z - 0.5])
    assert every.places[row].tolist() == [place]
    assert "gripper" in every.asked.prompts[row]


class _Table:
    """Captions of which every picture shows the same."""

    def __init__(self, **things):
        self._things = {"gripper": [0.3, 0.0, 0.1], **things}

    def places_m(self, index):
        return self._things


def test_an_instruction_points_at_what_is_moved_and_where_to():
    table = _Table(carrot=[0.25, 0.1, 0.05], plate=[0.35, -0.1, 0.05])
    told = draw_told(table, np.random.default_rng(0), np.arange(9), 4)
    assert told.asked.about.tolist() == np.repeat(np.arange(9), 4).tolist()
    # From 0.25 m in front of the base and 5 cm above the table, in tenths of a metre.
    where = {"carrot": [0.0, 1.0, 0.0], "plate": [1.0, -1.0, 0.0]}
    for row, prompt in enumerate(told.asked.prompts):
        x, y = re.fullmatch("put the (.*) (?:in|on) the (.*)", prompt).groups()
        assert {x, y} == set(where)
        assert told.kinds[row] == ("what an instruction moves", "where an instruction moves it")
        np.testing.assert_allclose(told.places[row], [where[x], where[y]], atol=1e-6)
    assert len(set(told.asked.prompts)) == 4


def test_a_picture_of_one_thing_has_no_instruction():
    told = draw_told(_Table(carrot=[0.3, 0.0, 0.0]), np.random.default_rng(0), np.arange(3), 2)
    assert told.asked.prompts == []
    assert told.places.shape == (0, 2, 3)


def test_pointing_off_by_a_unit_is_ten_centimetres(captions):
    data = open_captions(captions, 32)
    taught = Taught(pretrain_vlm.make_model(pretrain_vlm.tiny(), data, 0), data.names).eval()
    truth = draw_points(data, np.random.default_rng(0), data.held_out[:1], 1_000)
    row = truth.kinds.index(("gripper",))
    with torch.no_grad():
        for parameter in taught.head.parameters():
            parameter.zero_()
        taught.head[2].bias[:3] = truth.places[row, 0] + torch.tensor([0.0, 1.0, 0.0])
    off_cm = evaluate_pointing(taught, data, 1, bf16=False)
    assert off_cm["gripper"] == pytest.approx(10.0, abs=1e-4)


def test_pointing_asks_as_captions_do_but_for_what_is_held_out():
    assert WORDINGS["where_place"][:-1] == PLACE_WORDINGS
