from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.learning import tap_data
from training.learning.processes import World
from training.learning.tap_data import stage_1_data, stage_2_data
from training.learning.tap_recipes import tiny
from vla_ros.core.errors import VlaError


@pytest.fixture
def data(dataset_path):
    return stage_1_data([dataset_path], tiny(1), 32)


def test_processes_and_parts_take_the_batch_of_one(data):
    recipe = tiny(1)
    (whole,) = data.micro_batches(recipe, 0, World())(3)
    halves = [data.micro_batches(recipe, 0, World(rank, 2))(3)[0] for rank in (0, 1)]
    for rank, half in enumerate(halves):
        assert torch.equal(half.images, whole.images[rank::2])  # shifted alike
        assert torch.equal(half.actions, whole.actions[rank::2])
    parts = data.micro_batches(type(recipe)(**{**vars(recipe), "accumulation": 2}), 0, World())(3)
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    with pytest.raises(VlaError, match="cannot be shared by 3 processes"):
        data.micro_batches(recipe, 0, World(0, 3))


def test_other_light_is_shared_out_as_shifts_are_and_falls_on_both_pictures(data):
    plain, lit = (
        data.micro_batches(replace(tiny(1), shift_px=0, colours=colours), 0, World())(3)[0]
        for colours in (False, True)
    )
    assert torch.equal(plain.actions, lit.actions)
    changed = (lit.images - plain.images).mean((2, 3, 4))
    assert (changed.abs() > 1e-3).any()
    half = data.micro_batches(replace(tiny(1), shift_px=0, colours=True), 0, World(1, 2))(3)[0]
    assert torch.equal(half.images, lit.images[1::2])
    samples = data.trained.batch(np.arange(2))
    samples.pictures["front"][:, 1] = samples.pictures["front"][:, 0]
    drawn = np.array([[0.9, 0.5, 0.5, 0.5, 0.9], [0.1, 0.5, 0.5, 0.5, 0.9]], np.float32)
    bright, dark = data.tensors(samples, light=drawn).images
    assert torch.equal(bright[0], bright[1])
    assert bright.mean() > data.tensors(samples).images[0].mean() > -1
    assert dark.mean() < data.tensors(samples).images[1].mean()


def test_action_tokens_are_of_what_is_trained_on(data):
    tokens = data.fit_tokens(64)
    (row,) = tokens.encode(data.actions[:1, None])
    np.testing.assert_allclose(tokens.decode(row)[0], data.actions[0], atol=0.5 / tokens.scale)
    assert (np.abs(data.actions) <= 1).all()


def test_held_out_samples_are_few_and_the_same(data):
    ((samples, batch),) = data.held_out_batches(3)
    ((again, _),) = data.held_out_batches(3)
    assert samples.frames.tolist() == again.frames.tolist()
    assert samples.frames[0].tolist() != samples.frames[2].tolist()
    assert batch.images.shape == (3, 2, 3, 32, 32)
    assert batch.text is None


def test_stage_2_may_keep_the_scale_of_stage_1(dataset_path, data):
    facts = {"data": data.facts}
    start = SimpleNamespace(contract=data.contract, normalizer=data.normalizer, run=facts)
    recipe = tiny(2)
    kept = type(recipe)(**{**vars(recipe), "keep_normalizer": True})
    own = stage_2_data([dataset_path], recipe, 32, start)
    assert own.normalizer.to_dict() != data.normalizer.to_dict()
    assert stage_2_data([dataset_path], kept, 32, start).normalizer is data.normalizer
    assert next(iter(own.held_out_batches(1)))[1].text == ["Put the carrot on the plate"]


def test_stage_2_refuses_demonstrations_without_an_instruction(dataset_path, monkeypatch):
    episodes = tap_data.stage_2_episodes
    silent = lambda *args: [replace(e, task=" ") for e in episodes(*args)]  # noqa: E731
    monkeypatch.setattr(tap_data, "stage_2_episodes", silent)
    with pytest.raises(VlaError, match="has no instruction for .* demonstrations"):
        stage_2_data([dataset_path], tiny(2), 32)
