"""Windows, batches and held-out error of APT, on small arrays made by hand and one tiny dataset."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.datasets.shard import Camera
from training.learning.apt_batches import Batches, draw
from training.learning.apt_data import apt_data, chunk_statistics, observe
from training.learning.apt_eval import chunk_errors, still_chunks
from training.learning.apt_recipes import AS_RECORDED, Augmentation, styled, tiny
from training.learning.apt_windows import Chunks, poses_from_vectors
from training.learning.dataset import Dataset, Episode
from training.learning.processes import World
from training.learning.sampling import Mixture
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import DatasetError, VlaError
from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.policy.apt.config import AptConfig

# A camera 1 m up that looks down: its x is base x, its y base -y, its z base -z.
LOOKING_DOWN = transform(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 1.0]))
K = [[16.0, 0.0, 15.5], [0.0, 16.0, 15.5], [0.0, 0.0, 1.0]]
KNOWN = {"front": Camera(K, LOOKING_DOWN.tolist())}


def line(num_frames=6, label="reached", cameras=None, **more):
    """Return two episodes (4 and 2 frames) of a tool that moves 1 cm along x a frame."""
    poses = np.zeros((num_frames, 6), np.float32)
    poses[:, 0] = 0.01 * np.arange(num_frames)
    motion = np.zeros((num_frames, 7), np.float32)
    motion[:, 0], motion[:, 6] = 0.01, np.arange(num_frames) % 2
    states = np.zeros((num_frames, 7), np.float32)
    states[:, 6] = 0.1 * np.arange(num_frames)
    vectors = {
        "observation.state": states,
        "observation.ee_pose": poses,
        "action": motion,
        **more,
    }
    pictures = np.arange(num_frames, dtype=np.uint8)[:, None, None, None]
    pictures = np.broadcast_to(pictures, (num_frames, 4, 4, 3))
    known = KNOWN if cameras is None else cameras
    episodes = [
        Episode(0, 4, "a", "demo", "push", True, known, recording="a"),
        Episode(4, num_frames, "b", "play", "", None, known, recording="b"),
    ]
    contract = tap_contract(image_size=32)
    return Dataset("line", contract, {"front": pictures}, vectors, episodes, "hash")


def test_steps_beyond_an_episode_repeat_its_last_pose_and_are_marked():
    data = line()
    samples = Chunks(data, data.episodes, horizon=3).batch(np.array([2, 5]))
    # Frame 2 leads to 3 and, by the last frame's motion, to 4; the second episode ends at 6.
    np.testing.assert_allclose(samples.T_base_future[:, :, 0, 3], [[0.03, 0.04, 0.04], [0.06] * 3])
    np.testing.assert_array_equal(samples.mask, [[True, True, False], [True, False, False]])
    # The gripper that was commanded on the way to a step: frame 2's, frame 3's.
    np.testing.assert_array_equal(samples.openings, [[0, 1, 1], [1, 1, 1]])
    np.testing.assert_allclose(samples.opening, [0.2, 0.5])
    assert list(samples.tasks) == ["push", ""]
    assert samples.pictures["front"][:, 0, 0, 0].tolist() == [2, 5]


def test_desired_poses_are_taken_where_they_were_recorded():
    desired = np.zeros((6, 7), np.float32)
    desired[:, 1], desired[:, 6] = 0.5, 0.75
    data = line(**{"action.ee_pose": desired})
    chosen = Chunks(data, data.episodes, 1).batch(np.array([0]))
    reached = Chunks(data, data.episodes, 1, targets="reached").batch(np.array([0]))
    np.testing.assert_allclose(chosen.T_base_future[0, 0, :3, 3], [0, 0.5, 0])
    assert chosen.openings[0, 0] == 0.75
    np.testing.assert_allclose(reached.T_base_future[0, 0, :3, 3], [0.01, 0, 0])


def test_reached_motion_turns_from_the_left():
    poses, motion = np.zeros((1, 6)), np.zeros((1, 7))
    poses[0, 3:] = [0.3, -0.2, 0.5]
    motion[0, 3:6] = [0.1, 0.4, -0.3]
    data = line(1, **{"observation.ee_pose": poses, "action": motion})
    data = replace(data, episodes=[replace(data.episodes[0], end=1)])
    found = Chunks(data, data.episodes, 1).batch(np.array([0])).T_base_future[0, 0, :3, :3]
    expected = matrix_from_rotvec(motion[0, 3:6]) @ matrix_from_rotvec(poses[0, 3:])
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_the_past_repeats_an_episodes_first_pose():
    data = line()
    samples = Chunks(data, data.episodes, horizon=1, history=3).batch(np.array([3, 5]))
    np.testing.assert_allclose(samples.T_base_past[:, :, 0, 3], [[0.01, 0.02], [0.04, 0.04]])
    np.testing.assert_allclose(samples.past_openings, [[0.1, 0.2], [0.4, 0.4]])


def test_chunks_are_in_the_axes_of_the_reference_camera():
    sideways = Camera(K, transform(np.eye(3), np.zeros(3)).tolist())
    data = line(cameras={"front": KNOWN["front"], "side": sideways})
    data = replace(
        data,
        contract=replace(data.contract, cameras=("front", "side")),
        vectors={
            **data.vectors,
            "observation.ee_pose": data.ee_poses + np.float32([0, 0.1, 0] * 2),
        },
    )
    samples = Chunks(data, data.episodes, horizon=2, history=2).batch(np.array([1, 1]))
    moved = samples.T_base_future.copy()
    moved[..., 1, 3] += 0.02
    samples = replace(samples, T_base_future=moved)
    observation, chunks = observe(samples, np.array([0, 1]))
    # 1 and 2 cm along x, 2 cm along y, which is the first camera's -y.
    expected = [[[0.01, -0.02, 0], [0.02, -0.02, 0]], [[0.01, 0.02, 0], [0.02, 0.02, 0]]]
    np.testing.assert_allclose(chunks[:, 0, :, :3], expected, atol=1e-7)
    assert observation.reference.tolist() == [[0], [1]]
    assert observation.history.shape == (2, 1, 1, 10)
    np.testing.assert_allclose(observation.history[:, 0, 0, 0], [-0.01, -0.01], atol=1e-7)
    # fx = 16 of 16 half pixels; the centre 15.5 is the middle of 32.
    assert observation.intrinsics[0].tolist() == [[1, 1, 0, 0]] * 2
    np.testing.assert_allclose(observation.tool_positions()[0, 0], [0.01, -0.1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("known", "what"),
    [
        ({}, "pose .T_base_camera. and the intrinsics"),
        ({"front": Camera(K, None)}, "the pose .T_base_camera. of camera front in bag a"),
        ({"front": Camera(None, LOOKING_DOWN.tolist())}, "the intrinsics .K. of camera front"),
    ],
)
def test_cameras_that_nobody_measured_are_refused(known, what):
    data = line(cameras=known)
    with pytest.raises(DatasetError, match=what):
        Chunks(data, data.episodes, 2)


def test_numbers_of_a_batch_are_those_of_seed_and_step_whoever_takes_them():
    recipe = tiny(1)
    whole = draw(recipe, 8, 2, seed=1, step=5)
    for one, other in zip(whole, draw(recipe, 8, 2, seed=1, step=5), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(whole.noise, draw(recipe, 8, 2, seed=1, step=6).noise)
    assert not torch.equal(whole.noise, draw(recipe, 8, 2, seed=2, step=5).noise)
    # Switches that make numbers longer come last, so that they move no others.
    longer = replace(recipe, apt=replace(recipe.apt, history=3))
    assert torch.equal(whole.turn, draw(longer, 8, 2, 1, 5).turn)


@pytest.fixture(scope="module")
def data(calibrated):
    return apt_data([calibrated], tiny(1), 32)


def flat(batches):
    """Return the numbers of micro-batches, put together, a sample a row."""
    parts = [
        torch.cat(
            [
                part.scene.flatten(1),
                part.observation.T_base_camera.flatten(1),
                part.observation.T_base_tool.flatten(1),
                part.chunks.flatten(1),
                part.noise.reshape(len(part.chunks), -1),
                part.steps.reshape(len(part.chunks), -1),
            ],
            1,
        )
        for part in batches
    ]
    return torch.cat(parts)


def test_processes_and_micro_batches_share_a_batch_sample_by_sample(data):
    recipe = replace(tiny(1), augmentation=Augmentation(shake=True), noises=3)
    whole = flat(Batches(data, recipe, 0, World())(3))
    for rank in range(2):
        cut = replace(recipe, accumulation=2)
        own = Batches(data, cut, 0, World(rank, 2))(3)
        assert [len(part.chunks) for part in own] == [1, 1]
        # Three of each, all of them different.
        assert [len(part.noise) for part in own] == [3, 3]
        assert not torch.equal(own[0].noise[0], own[0].noise[1])
        np.testing.assert_allclose(flat(own), whole[rank::2], rtol=1e-5, atol=1e-6)
    plain = flat(Batches(data, tiny(1), 0, World())(3))
    assert not torch.equal(plain[:, :3072], whole[:, :3072])


def test_stage_2_is_told_and_refuses_silent_demonstrations(data, calibrated):
    assert data.text(data.trained.batch(np.arange(2))) is None
    told = apt_data([calibrated], tiny(2), 32)
    assert told.text(told.trained.batch(np.arange(1))) == ["Put the carrot on the plate"]
    with pytest.raises(DatasetError, match="given twice"):
        apt_data([calibrated, calibrated], tiny(2), 32)
    other = SimpleNamespace(contract=replace(told.contract, rate_hz=10.0))
    with pytest.raises(VlaError, match="rate_hz: 10.0 here, 5.0 there"):
        apt_data([calibrated], tiny(2), 32, start=other)


def test_masked_ends_leave_the_loss(data):
    batch = Batches(data, replace(tiny(1), mask_ends=True), 0, World())(0)[0]
    assert batch.mask.shape == (4, 1, 4)
    assert Batches(data, tiny(1), 0, World())(0)[0].mask is None


def test_pictures_stay_only_where_nothing_changes_them():
    assert AS_RECORDED.keeps_pictures(2)
    assert not Augmentation().keeps_pictures(1)
    shuffled = replace(AS_RECORDED, shuffle_cameras=True)
    assert shuffled.keeps_pictures(1)
    assert not shuffled.keeps_pictures(2)
    assert not replace(AS_RECORDED, drop_cameras=0.1).keeps_pictures(1)


def test_styles_take_their_own_way_of_language():
    config = AptConfig(2, width=32, num_heads=2)
    assert styled(config, None, None) == config
    assert styled(config, "groot", None).language == "token_insertion"
    assert styled(config, "pi", "inserted_layers").style == "pi"
    assert styled(config, "apt", "token_insertion").language == "token_insertion"
    assert (config.fusion, styled(config, None, None, "paper").fusion) == ("code", "paper")
    for style in ("pi", "groot"):
        with pytest.raises(VlaError, match=f"gates that style {style} does not have"):
            styled(config, style, None, "paper")
    with pytest.raises(VlaError, match="no inserted layers"):
        styled(config, "groot", "inserted_layers")


def test_errors_of_chunks_by_hand():
    true = still_chunks(np.array([1.0, 0.0]), 2)
    guess = true.copy()
    guess[0, 0, 0] += 0.03
    guess[0, 0, 1] += 0.04
    guess[1, 0, 3:9] = [0, 1, 0, -1, 0, 0]  # a quarter turn
    guess[1, 1] += 9  # a step that the episode does not have
    exist = np.array([[True, True], [True, False]])
    found = chunk_errors("val", guess, true, exist, (30.0, 10.0, 10.0))
    # Means over 3 steps: 7 cm of 9 numbers; 4 of 18 numbers are 1 off.
    assert found["val_loss"] == pytest.approx(30 * 0.07 / 9 + 10 * 4 / 18)
    first, second = found["val_error_by_step"]["1"], found["val_error_by_step"]["2"]
    assert first["x"] == pytest.approx(0.015)
    assert first["position_cm"] == pytest.approx(2.5)
    assert first["rotation_deg"] == pytest.approx(45)
    assert second["position_cm"] == 0


class Unread:
    """Pictures that nobody may read."""

    def __getitem__(self, _):
        raise AssertionError("a picture was read")


def test_geometry_and_statistics_read_no_picture(data):
    unseen = replace(line(), pictures={"front": Unread()})
    samples = Chunks(unseen, unseen.episodes, 2).batch(np.array([0, 5]), with_pictures=False)
    assert samples.pictures == {}
    assert samples.T_base_tool.shape == (2, 4, 4)
    (dataset,) = data.datasets
    chunks = Chunks(replace(dataset, pictures={"front": Unread()}), data.splits[0].trained, 4)
    blind = replace(data, trained=Mixture([chunks]))
    mean, _ = chunk_statistics(blind, tiny(1))
    assert torch.equal(mean, chunk_statistics(data, tiny(1))[0])
    batches = Batches(blind, tiny(1), 0, World())
    batches.features = lambda indices: ("features", len(indices))
    assert [part.scene[0] for part in batches(0)] == ["features"]


def test_poses_of_vectors():
    vectors = np.array([[1, 2, 3, 0.1, -0.2, 0.3]])
    expected = transform(matrix_from_rotvec(vectors[0, 3:]), vectors[0, :3])
    np.testing.assert_allclose(poses_from_vectors(vectors)[0], expected, atol=1e-12)
