"""The checkpoints in the repository: they load, act, and do what their cards say."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.evidence import rollouts
from training.evidence.cells import cells_named
from training.evidence.rollouts_trial import Settings, Stage, roll_out
from training.evidence.ship import MEASURED, MOST_BYTES
from vla_ros.policy.checkpoint import CARD, load_checkpoint

FOLDERS = sorted((Path(__file__).parents[3] / "checkpoints").iterdir())
TRIALS = 6
# The cells without anything new but scene and, of APT, pair of things.
TOLD = {
    "tap": ("carrot/standard", "pumpkin/standard"),
    "apt": ("seen", "unseen combinations"),
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_checkpoint_is_small_and_says_what_it_is(folder):
    checkpoint = load_checkpoint(folder)
    assert checkpoint.method == folder.name
    assert checkpoint.policy.config.stage == 2
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= MOST_BYTES + 1e5
    card = (folder / CARD).read_text()
    for result in json.loads((folder / MEASURED).read_text()):
        assert rollouts.table(result) in card
    assert "/tmp" not in card  # where it was trained is nobody's business


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_checkpoint_does_what_its_card_says(folder):
    """In the first trials not fewer than one in ten thousand such policies would do."""
    result = json.loads((folder / MEASURED).read_text())[0]
    settings = Settings(**result["settings"])
    stage, checkpoint = Stage(("front",), settings), load_checkpoint(folder)
    told = [cell for cell in result["cells"] if cell["cell"] in TOLD[checkpoint.method]]
    assert len(told) == 2
    for cell in told:
        (found,) = cells_named([cell["cell"]])
        done = sum(
            roll_out(checkpoint, found, trial, settings, stage)[0]["success"]
            for trial in range(TRIALS)
        )
        low = cell["success_interval_95"][0]
        drawn = np.random.default_rng(0).binomial(TRIALS, low, 200_000)
        assert done >= int(np.quantile(drawn, 1e-4)), cell["cell"]
