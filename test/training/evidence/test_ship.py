"""Checkpoints that come with the package: a card says what was measured, of this one alone."""

import json

import pytest

from test.fixtures import tiny_policies
from training.evidence import ship
from training.learning.stage_files import STATE_FILE
from vla_ros.policy.checkpoint import save_checkpoint
from vla_ros.policy.checkpoint_hash import checkpoint_sha256


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "tap2"
    save_checkpoint(tiny_policies.tap(), folder)
    return folder


def measured(checkpoint, path, **changes):
    cell = {"cell": "carrot/standard", "trials": 4, "partial": 3, "success": 1}
    cell |= {"partial_interval_95": [0.3, 0.95], "success_interval_95": [0.05, 0.7]}
    result = {"checkpoint_sha256": checkpoint_sha256(checkpoint), "settings": {"seed": 0}}
    result |= {"cells": [cell], "code_version": "abc", "trials_a_minute": 9.0, "workers": 1}
    path.write_text(json.dumps(result | changes))
    return path


def run(checkpoint, results, out):
    return ship.main([str(checkpoint), "--measured", str(results), "--out", str(out)])


def test_what_ships_is_the_same_but_for_its_card(checkpoint, tmp_path, capsys):
    out = tmp_path / "checkpoints" / "tap"
    assert run(checkpoint, measured(checkpoint, tmp_path / "r.json"), out) == 0
    assert "with 1 tables in README.md" in capsys.readouterr().out
    card = (out / "README.md").read_text()
    assert "carrot/standard       4   75 % [ 30,  95]   25 % [  5,  70]" in card
    assert card.index("## Measured") < card.index("## Provenance")
    (result,) = json.loads((out / "measured.json").read_text())
    assert result["cells"][0]["success"] == 1
    (out / "measured.json").unlink()
    names = {file.relative_to(out) for file in out.rglob("*") if file.is_file()}
    assert names == {f.relative_to(checkpoint) for f in checkpoint.rglob("*") if f.is_file()}
    for name in names - {(out / "README.md").relative_to(out)}:
        assert (out / name).read_bytes() == (checkpoint / name).read_bytes()


def test_what_is_not_known_to_have_acted_does_not_ship(checkpoint, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    results = measured(checkpoint, tmp_path / "r.json")
    refused = [
        (measured(checkpoint, tmp_path / "other.json", checkpoint_sha256="0"), "measure this one"),
        (measured(checkpoint, tmp_path / "no.json", cells=None), "cannot be read as results"),
    ]
    for path, said in refused:
        assert run(checkpoint, path, out) == 1
        assert said in capsys.readouterr().err
    (checkpoint / STATE_FILE).write_bytes(b"")
    assert run(checkpoint, results, out) == 1
    assert "has not ended" in capsys.readouterr().err
    (checkpoint / STATE_FILE).unlink()
    monkeypatch.setattr(ship, "MOST_BYTES", 10)
    assert run(checkpoint, results, out) == 1
    assert "train a smaller model" in capsys.readouterr().err
    assert not out.exists()
