"""What an answer hung on, of either method, on toy policies."""

import dataclasses

import numpy as np
import pytest
from policy_servers import SEEN, STATE
from tiny_policies import apt, tap

from vla_ros.core.errors import ContractError
from vla_ros.core.observation import Observation
from vla_ros.policy.heat_picture import overlay
from vla_ros.policy.overlays import SIDE_PX, overlays_of
from vla_ros.policy.runner import runner_of


@pytest.fixture(autouse=True)
def boundless(monkeypatch):
    """Let an expert that has learnt nothing ask for metres."""
    monkeypatch.setattr("vla_ros.policy.runner.MAX_CHUNK_TRANSLATION_M", 100.0)


def two_cameras():
    views = dict.fromkeys(("front", "side"), SEEN.views["front"])
    return apt(tuple(views)), Observation(views, SEEN.task, STATE)


@pytest.mark.parametrize("make", [tap, lambda: tap("fast"), apt])
def test_each_camera_has_heat_and_the_policy_answers_as_if_nobody_looked(make):
    runner, alone = runner_of(make(), seed=3), runner_of(make(), seed=3)
    for _ in range(2):  # after it has acted, and before
        chunk = runner.act(SEEN)
        np.testing.assert_array_equal(chunk.actions, alone.act(SEEN).actions)
        found = overlays_of(runner, SEEN, chunk)
    plain = runner.see("front", SEEN.views["front"].picture)
    (picture,) = found.pictures.values()
    assert list(found.pictures) == ["front"]
    assert (picture.shape, picture.dtype) == ((SIDE_PX, SIDE_PX, 3), np.uint8)
    assert np.any(picture != overlay(plain, np.zeros((1, 1)), 1.0, SIDE_PX))
    assert all(parameter.grad is None for parameter in runner.policy.parameters())
    if make is apt:
        # A fresh gate is 0.5 everywhere; the last slot's would be read by nobody.
        assert found.gates.slots == (0,)
        assert found.gates.values.tolist() == [[0.5] * 32]
        assert 0 < found.gates.backbone_share[0] < 1
    else:
        assert found.gates is None


def test_heat_is_of_the_answer_that_is_given():
    checkpoint, seen = two_cameras()
    runner = runner_of(checkpoint)
    chunk = runner.act(seen)
    found = overlays_of(runner, seen, chunk)
    assert list(found.pictures) == ["front", "side"]
    again = overlays_of(runner, seen, chunk)
    other = overlays_of(runner, seen, dataclasses.replace(chunk, actions=chunk.actions + 0.5))
    for name, picture in found.pictures.items():
        np.testing.assert_array_equal(picture, again.pictures[name])
    assert any(np.any(found.pictures[name] != other.pictures[name]) for name in found.pictures)


def test_what_the_runner_does_not_act_on_has_no_overlay():
    runner = runner_of(tap())
    with pytest.raises(ContractError, match="no picture of camera front"):
        overlays_of(runner, dataclasses.replace(SEEN, views={}), runner.act(SEEN))


def test_tokens_that_were_answered_are_not_decoded_again(monkeypatch):
    runner = runner_of(tap("fast"))
    chunk = runner.act(SEEN)
    assert chunk.tokens
    decoded_anew = overlays_of(runner, SEEN, dataclasses.replace(chunk, tokens=None))
    monkeypatch.setattr(runner.policy, "generate", None)
    found = overlays_of(runner, SEEN, chunk)
    np.testing.assert_array_equal(found.pictures["front"], decoded_anew.pictures["front"])
    # It is these tokens that the heat is of.
    swapped = dataclasses.replace(chunk, tokens=chunk.tokens[::-1])
    assert np.any(overlays_of(runner, SEEN, swapped).pictures["front"] != found.pictures["front"])


def test_an_answer_of_no_token_at_all_has_no_heat():
    runner = runner_of(tap("fast"))
    # Decoded freely, it may be.
    chunk = dataclasses.replace(runner.act(SEEN), tokens=())
    found = overlays_of(runner, SEEN, chunk)
    plain = runner.see("front", SEEN.views["front"].picture)
    bare = overlay(plain, np.zeros((1, 1)), 1.0, SIDE_PX)
    np.testing.assert_array_equal(found.pictures["front"], bare)
