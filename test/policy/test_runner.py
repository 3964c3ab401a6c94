import dataclasses

import numpy as np
import pytest
import torch
from tiny_policies import apt, ask_for, tap

from vla_ros.core import arm, kinematics
from vla_ros.core.chunks import chunk_from_poses
from vla_ros.core.contract import apt_contract
from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.core.observation import CameraView, Decided, Observation
from vla_ros.core.rotations import matrix_from_rotvec, transform
from vla_ros.policy.checkpoint import save_checkpoint
from vla_ros.policy.pictures import encode_jpeg
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.runner import PolicyRunner, runner_of

TASK = "put the carrot on the plate"
STATE = np.append(arm.READY_RAD, 1.0)
# A camera that looks down from 0.8 m.
LOOKING_DOWN = transform(np.diag([1.0, -1.0, -1.0]), np.array([0.3, 0.0, 0.8]))
K = np.array([[48.0, 0, 31.5], [0, 48.0, 23.5], [0, 0, 1]])
PICTURE = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
VIEW = CameraView(PICTURE, LOOKING_DOWN)
SEEN = Observation({"front": VIEW}, TASK, STATE)


@pytest.fixture
def boundless(monkeypatch):
    """Let an expert that has learnt nothing ask for metres: its noise stays what it is."""
    monkeypatch.setattr("vla_ros.policy.runner.MAX_CHUNK_TRANSLATION_M", 100.0)


def answer(runner, chunk):
    """Have an APT runner's network answer `chunk` (H, 10), and return what it was told."""
    told = []

    def denoise(seen, geometry, noise, known=None):
        told.append(geometry)
        return torch.from_numpy(np.array(chunk, np.float32))[None, None]

    runner.policy.denoise = denoise
    return told


@pytest.mark.parametrize("make", [tap, lambda: tap("fast"), apt])
def test_a_loaded_runner_acts_as_the_contract_says_and_can_be_repeated(make, boundless, tmp_path):
    checkpoint = make()
    save_checkpoint(checkpoint, tmp_path / "c")
    chunks = []
    for _ in range(2):
        runner = PolicyRunner.load(tmp_path / "c", checkpoint.contract, seed=3)
        runner.warm_up()
        chunks.append(runner.act(SEEN))
    assert runner.run["stage"] == 2
    field = runner.contract.action
    assert chunks[0].actions.shape[-len(field.shape) :] == field.shape
    assert chunks[0].actions.dtype == np.float32
    assert chunks[0].period_s == 0.2
    assert set(chunks[0].openings) <= {0.0, 1.0}
    np.testing.assert_array_equal(chunks[0].actions, chunks[1].actions)
    other = dataclasses.replace(SEEN, task="push the pumpkin")
    assert not np.array_equal(runner.act(other).actions, chunks[0].actions)


def test_taps_action_is_the_networks_output_in_metres_and_radians():
    checkpoint = tap()
    output = checkpoint.policy.act(images_to_tensor(PICTURE[None, None]), [TASK])[0, 0].numpy()
    expected = output * ([0.05] * 3 + [0.5] * 3 + [1.0])  # the bounds are symmetric
    expected[6] = np.clip(expected[6], 0, 1)
    chunk = runner_of(checkpoint).act(SEEN)
    np.testing.assert_allclose(chunk.actions, expected[None], atol=1e-6)
    assert chunk.openings == [float(expected[6] > 0.5)]
    assert chunk.T_base_tool is None


def test_tap_looks_through_the_first_camera_alone_and_asks_for_no_pose():
    seen = Observation({"front": CameraView(PICTURE), "side": CameraView(PICTURE // 2)}, TASK)
    runner = runner_of(tap())
    assert runner.cameras == ("front",)
    np.testing.assert_array_equal(runner.act(seen).actions, runner.act(SEEN).actions)


def test_apts_chunk_becomes_tool_poses_in_the_base_from_where_the_arm_is():
    runner = runner_of(apt())
    T_now = kinematics.forward(STATE[:6])
    turn = matrix_from_rotvec(np.array([0.0, 0.3, -0.2]))
    future = np.stack([transform(turn @ T_now[:3, :3], T_now[:3, 3] + x) for x in (0.01, 0.03)])
    chunk = chunk_from_poses(T_now, future, np.array([1.0, 0.0]), LOOKING_DOWN)
    # Opening 0.9 is 0.8 in the chunk, and that is not open yet.
    chunk[:, 9] = [0.81, 0.8]
    told = answer(runner, chunk)
    done = runner.act(SEEN)
    np.testing.assert_allclose(done.T_base_tool, future, atol=1e-6)
    np.testing.assert_array_equal(done.openings, [1.0, 0.0])
    np.testing.assert_array_equal(done.actions, chunk)
    np.testing.assert_allclose(told[0].T_base_tool[0, 0], T_now, atol=1e-6)
    np.testing.assert_allclose(told[0].T_base_camera[0, 0], LOOKING_DOWN, atol=1e-6)
    assert told[0].opening.item() == 1.0
    assert told[0].intrinsics is None


def test_a_checkpoint_says_above_what_apts_gripper_is_open():
    runner = runner_of(apt(open_above=0.1))
    T_now = kinematics.forward(STATE[:6])
    chunk = chunk_from_poses(T_now, np.stack([T_now, T_now]), np.ones(2), LOOKING_DOWN)
    chunk[:, 9] = [0.11, 0.09]
    answer(runner, chunk)
    np.testing.assert_array_equal(runner.act(SEEN).openings, [1.0, 0.0])


def test_apt_denoises_to_what_its_weights_ask_for():
    checkpoint, wanted = apt(train_steps=10_000), (0.1, -0.05, 0.02, 1.0, 0, 0, 0, 1.0, 0, -1.0)
    ask_for(checkpoint, wanted)
    actions = runner_of(checkpoint).act(SEEN).actions
    np.testing.assert_allclose(actions, np.tile(wanted, (4, 1)), atol=0.02)


def test_apts_chunk_goes_on_from_what_is_decided_as_commands(boundless):
    """The arm hangs 5 mm below: what is decided comes back as the very poses that are planned."""
    runner = runner_of(apt())
    T_now = kinematics.forward(arm.READY_RAD)
    T_commanded = T_now.copy()
    T_commanded[2, 3] += 0.005
    T_planned = np.tile(T_commanded, (3, 1, 1))
    T_planned[:, 0, 3] += [0.01, 0.02, 0.03]
    decided = Decided(T_commanded, T_planned, np.array([1.0, 1.0, 0.0]), fixed=2)
    chunk = runner.act(SEEN, decided)
    found = chunk.as_commands(T_now, T_commanded).T_base_tool
    np.testing.assert_allclose(found[:2], T_planned[:2], atol=1e-5)
    # The third draws, and the fourth is the network's own.
    apart = np.linalg.norm(found[:, :3, 3] - runner.act(SEEN).T_base_tool[:, :3, 3], axis=1)
    assert apart[3] > 0.01
    assert not np.allclose(found[2], T_planned[2], atol=1e-3)
    none = Decided(T_commanded, T_planned[:0], np.zeros(0), fixed=0)
    assert len(runner.act(SEEN, none)) == 4


def test_what_apt_sees_of_the_scene_is_read_once(boundless, monkeypatch):
    runner, reads = runner_of(apt()), []
    read = runner.policy.expert.read
    monkeypatch.setattr(runner.policy.expert, "read", lambda *a: reads.append(1) or read(*a))
    runner.act(SEEN)
    assert len(reads) == 1


def test_apt_is_given_the_cameras_in_the_contracts_order_and_their_intrinsics():
    runner = runner_of(apt(("front", "side"), run={"intrinsics": True}))
    told = answer(runner, np.tile([0.0, 0, 0, 1, 0, 0, 0, 1, 0, 1], (4, 1)))
    wide = np.zeros((48, 64, 3), np.uint8)
    view = CameraView(encode_jpeg(wide, 90), LOOKING_DOWN, K, (64, 48))
    runner.act(Observation({"side": view, "front": view}, TASK, STATE))
    # 48 px are 1.5 halves of 64 px and 2 of 48 px.
    np.testing.assert_allclose(told[0].intrinsics, [[[1.5, 2, 0, 0]] * 2], atol=1e-6)
    assert told[0].reference.tolist() == [[0]]


def test_apts_history_is_where_the_tool_was_relative_to_now():
    runner = runner_of(apt(history=2))
    told = answer(runner, np.tile([0.0, 0, 0, 1, 0, 0, 0, 1, 0, 1], (4, 1)))
    runner.warm_up()
    past = STATE.copy()
    past[0] -= 0.1
    past[6] = 0.0
    runner.act(dataclasses.replace(SEEN, past_states=past[None]))
    T_past, T_now = kinematics.forward(past[:6]), kinematics.forward(STATE[:6])
    expected = chunk_from_poses(T_now, T_past[None], np.array([0.0]), LOOKING_DOWN)
    np.testing.assert_allclose(told[1].history[0, 0], expected, atol=1e-6)
    with pytest.raises(ContractError, match="needs 1 past states, got 0"):
        runner.act(SEEN)


def test_a_camera_image_of_another_size_is_resized():
    large = CameraView(np.full((48, 64, 3), 77, np.uint8))
    small = CameraView(np.full((32, 32, 3), 77, np.uint8))
    runner = runner_of(tap())
    found = [runner.act(Observation({"front": view}, TASK)).actions for view in (large, small)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize(("make", "name"), [(tap, "tap"), (apt, "apt")])
def test_refuses_a_stage_1_checkpoint(make, name, tmp_path):
    save_checkpoint(make(stage=1), tmp_path / "c")
    with pytest.raises(CheckpointError, match=f"follows no instruction.*stage2_{name} wrote"):
        PolicyRunner.load(tmp_path / "c")


def test_refuses_another_contract_and_a_device_that_is_not_there(tmp_path):
    save_checkpoint(tap(), tmp_path / "c")
    with pytest.raises(ContractError, match="action_space"):
        PolicyRunner.load(tmp_path / "c", apt_contract(image_size=32))
    with pytest.raises(CheckpointError, match="no device 'tpu' to run a policy on"):
        PolicyRunner.load(tmp_path / "c", device="tpu")


def changed(**values):
    """Return SEEN with another view of the front camera."""
    return dataclasses.replace(SEEN, views={"front": dataclasses.replace(VIEW, **values)})


@pytest.mark.parametrize(
    ("make", "seen", "match"),
    [
        (tap, dataclasses.replace(SEEN, views={"side": VIEW}), "no picture of camera front"),
        (tap, changed(picture=np.zeros((32, 32, 3))), "camera front must be uint8"),
        (tap, changed(picture=b"\xff\xd8 no JPEG"), "image of camera front cannot be decoded"),
        (apt, dataclasses.replace(SEEN, state=None), "no joint state to act from"),
        (apt, dataclasses.replace(SEEN, state=STATE * np.nan), "observation.state must be finite"),
        (apt, dataclasses.replace(SEEN, state=STATE[:6]), "observation.state must be float32 of"),
        (apt, changed(T_base_camera=None), "where camera front is on the robot is not known"),
        (apt, changed(T_base_camera=np.full((4, 4), np.nan)), "where camera front is"),
    ],
)
def test_refuses_what_it_cannot_act_on(make, seen, match):
    with pytest.raises(ContractError, match=match):
        runner_of(make()).act(seen)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({}, "camera front is not calibrated"),
        ({"K": K, "size": (64, 48)}, "gives pictures of 32 x 32 px and is calibrated for 64 x 48"),
    ],
)
def test_refuses_to_act_without_the_intrinsics_that_it_was_trained_with(values, match):
    with pytest.raises(ContractError, match=match):
        runner_of(apt(run={"intrinsics": True})).act(changed(**values))


@pytest.mark.parametrize("make", [tap, lambda: tap("fast"), apt])
def test_refuses_to_act_on_nan(make):
    checkpoint = make()
    with torch.no_grad():
        for parameter in checkpoint.policy.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ContractError, match="finite"):
        runner_of(checkpoint).act(SEEN)


def test_refuses_a_chunk_that_leads_further_than_the_arm_reaches():
    runner = runner_of(apt())
    answer(runner, [[1.4, 0, 0, 1, 0, 0, 0, 1, 0, 1]])
    with pytest.raises(ContractError, match=r"a tool pose 1\.40 m away"):
        runner.act(SEEN)
