"""Weights in half the bytes: nearly the same ones, and a checkpoint like any other."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from test.fixtures import tiny_policies
from training.evidence import halve
from training.learning.stage_files import METRICS_FILE, STATE_FILE
from vla_ros.policy.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "apt2"
    save_checkpoint(tiny_policies.apt(), folder)
    (folder / METRICS_FILE).write_text("{}")
    return folder


def run(checkpoint, out):
    return halve.main([str(checkpoint), "--out", str(out)])


def test_weights_are_rounded_and_computed_with_as_before(checkpoint, tmp_path, capsys):
    out = tmp_path / "half"
    assert run(checkpoint, out) == 0
    assert "before" in capsys.readouterr().out
    stored = load_file(out / "model.safetensors")
    assert {w.dtype for w in stored.values() if w.is_floating_point()} == {torch.float16}
    before, after = (load_checkpoint(path).policy.state_dict() for path in (checkpoint, out))
    assert list(before) == list(after)
    for name, weight in before.items():
        assert after[name].dtype == weight.dtype
        torch.testing.assert_close(after[name], weight, rtol=2.0**-11, atol=2.0**-25)
    assert any(not torch.equal(after[name], before[name]) for name in before)
    said = "as trained, rounded to float16"
    assert json.loads((out / "run.json").read_text())["weights"] == said
    assert f"weights: {said}\n" in (out / "README.md").read_text()
    # Held-out errors of what it was made of.
    assert not (out / METRICS_FILE).exists()
    assert (out / "config.json").read_bytes() == (checkpoint / "config.json").read_bytes()


def test_what_cannot_be_halved_is_a_sentence(checkpoint, tmp_path, capsys):
    out = tmp_path / "half"
    (checkpoint / STATE_FILE).write_bytes(b"")
    assert run(checkpoint, out) == 1
    assert "has not ended" in capsys.readouterr().err
    (checkpoint / STATE_FILE).unlink()
    weights = load_file(checkpoint / "model.safetensors")
    name = next(n for n, w in weights.items() if w.is_floating_point())
    weights[name].flatten()[0] = 1e6
    save_file(weights, checkpoint / "model.safetensors")
    assert run(checkpoint, out) == 1
    assert f"beyond float16's range, in {name} first" in capsys.readouterr().err
    assert run(tmp_path / "none", out) == 1
    before = (checkpoint / "model.safetensors").read_bytes()
    assert run(checkpoint, checkpoint / "../apt2") == 1
    assert "name another folder" in capsys.readouterr().err
    assert (checkpoint / "model.safetensors").read_bytes() == before
    assert not out.exists()
