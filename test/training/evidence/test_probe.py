"""Read-out of checkpoints' features, and its place in a report."""

import json
from dataclasses import replace

import pytest
import torch

from training.evidence import probe
from training.evidence.report_probe import readout_rows
from vla_ros.policy.small_config import toy_config
from vla_ros.policy.small_files import save_small_vlm
from vla_ros.policy.small_vlm import SmallVlm


@pytest.fixture
def pictures(write_captions):
    """Return a folder of 60 pictures; a bright square tells where the gripper is along x."""
    return write_captions(60, shows_apple=False)


def backbone(folder, image_size=32, **options):
    torch.manual_seed(0)
    save_small_vlm(SmallVlm(replace(toy_config(), image_size=image_size, **options)), folder, {})
    return folder


def test_features_tell_where_the_gripper_is_better_than_its_mean_place(pictures, tmp_path, capsys):
    one, out = backbone(tmp_path / "one"), tmp_path / "out" / "probe.json"
    assert probe.main([str(one), "--data", str(pictures), "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    # Frames 19, 39 and 59 are held out: columns 14, 6 and 22; the mean of the others is 10.9.
    assert result["data"] == {"name": "captions", "fitted": 57}
    errors = result["readout_cm"]["gripper"]
    assert errors["constant"] == pytest.approx((3.1 + 4.9 + 11.1) / 3, abs=0.1)
    assert errors["one"] < errors["constant"] / 2
    assert "apple" not in result["readout_cm"]  # never seen
    assert "gripper" in capsys.readouterr().out
    assert result["words_off"] == {}  # these words have no points


def test_words_that_point_elsewhere_are_counted(write_captions, tmp_path, monkeypatch, capsys):
    # Held out are frames 19, 39 and 59, in which an apple shows at columns 14, 6 and 22: cells of
    # 4 px whose middles are at 18, 10 and 26, in the line of middle 14.
    pictures, out = write_captions(60, shows_apple=True), tmp_path / "probe.json"
    one = backbone(tmp_path / "one", named_points=True)
    columns = {"apple": (4, 2, 2), "gripper": (4, 2, 6)}

    def heat(model, encoded, names):
        logits = torch.zeros(3, 1, len(names), 64)
        for number, name in enumerate(names):
            logits[torch.arange(3), 0, number, 3 * 8 + torch.tensor(columns[name])] = 1.0
        return logits

    monkeypatch.setattr(SmallVlm, "heat", heat)
    assert probe.main([str(one), "--data", str(pictures), "--json", str(out)]) == 0
    found = json.loads(out.read_text())["words_off"]
    assert found == {"one": {"apple": 0.3333, "gripper": 0.0}}
    assert "words of one that point elsewhere: 17% (apple 33%" in capsys.readouterr().out


def test_what_cannot_be_probed_is_refused(pictures, tmp_path, capsys):
    one = backbone(tmp_path / "one")
    more = ["--data", str(pictures), "--json", str(tmp_path / "x.json")]
    assert probe.main([str(one), str(backbone(tmp_path / "b" / "one")), *more]) == 1
    assert "must have different names" in capsys.readouterr().err
    assert probe.main([str(one), str(backbone(tmp_path / "two", 64)), *more]) == 1
    assert "see pictures of [32, 64] px" in capsys.readouterr().err
    assert probe.main([str(tmp_path), *more]) == 1
    assert not (tmp_path / "x.json").exists()


def test_a_report_has_a_line_for_each_stage_that_was_probed():
    known = {
        "constant": {"gripper": 19.0, "carrot": 15.04},
        "stage 1": {"gripper": 2.0, "carrot": 5.0},
        "stage 2": {"gripper": 1.0, "carrot": 4.0},
    }
    scratch = {name: known[name] for name in ("constant", "stage 2")}
    report = {
        "rows": [
            {"words": "not run", "readout_cm": {}},
            {"words": "TAP", "readout_cm": known},
            {"words": "scratch", "readout_cm": scratch},
        ]
    }
    assert readout_rows(report) == [
        ["always the mean place", "19.0", "15.0", "", ""],
        ["TAP, after stage 1", "2.0", "5.0", "", ""],
        ["TAP, after stage 2", "1.0", "4.0", "", ""],
        ["scratch, after stage 2", "1.0", "4.0", "", ""],
    ]
