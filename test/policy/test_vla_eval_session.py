"""What a harness is told and answered, without a socket: checkpoints, cameras, arms."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_policies import apt, tap
from vla_eval_harness import DOWN, EYE, STATES, Fake, array, displacement, foreign, seen

from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.core.errors import ContractError
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.runner import runner_of
from vla_ros.policy.vla_eval_arms import arm_of
from vla_ros.policy.vla_eval_cameras import eye_from, read_eyes
from vla_ros.policy.vla_eval_session import Session, manner_of, names_of


@pytest.mark.parametrize("make", [tap, apt])
def test_real_checkpoints_act(make, monkeypatch):
    monkeypatch.setattr("vla_ros.policy.runner.MAX_CHUNK_TRANSLATION_M", 100.0)
    found = make(cameras=("agentview",)) if make is apt else make()
    contract = foreign(found.contract)
    runner = runner_of(Checkpoint(found.policy, contract, found.run, found.normalizer))
    manner = manner_of(contract, runner.cameras, {}, {"agentview": EYE})
    action = Session(runner, manner).act(seen(states=array(STATES)))
    assert action.dtype == np.float32
    assert np.all(np.isfinite(action))
    assert np.abs(action).max() <= 1.0
    assert action[6] in (-1.0, 1.0)


def test_chunks_of_an_arm_without_kinematics_want_the_tools_pose():
    found = apt(cameras=("agentview",))
    runner = runner_of(Checkpoint(found.policy, foreign(found.contract), found.run))
    session = Session(runner, manner_of(runner.contract, runner.cameras, {}, {"agentview": EYE}))
    observation = session._observation(seen())
    state = np.float32([0.1] * 6 + [0.5])
    with pytest.raises(ContractError, match="where the tool of a libero_panda is cannot be had"):
        runner.act(dataclasses.replace(observation, state=state))
    with pytest.raises(ContractError, match=r"1 finite matrices \(4, 4\), got shape \(2, 4, 4\)"):
        runner.act(dataclasses.replace(observation, state=state, tools=np.zeros((2, 4, 4))))


def test_an_observation_may_say_itself_where_its_camera_is():
    runner = Fake(displacement(0, 0, 0, 0, 0, 0, 1), needs_poses=True)
    manner = manner_of(runner.contract, runner.cameras, {}, {"agentview": EYE})
    K = np.array([[-100.0, 0, 63.5], [0, 100, 63.5], [0, 0, 1]])
    told = {"K": array(K), "size": [128, 128], "T_base_camera": array(DOWN)}
    session = Session(runner, manner)
    session.act(seen(states=array(STATES)))
    session.begin()
    session.act(seen(states=array(STATES), cameras={"agentview": told}))
    by_file, by_itself = (o.views["agentview"] for o in runner.asked)
    assert by_file.K[0, 0] == pytest.approx(-25.0)  # of 32 px, as the dataset's pictures
    assert by_file.K[0, 2] == pytest.approx(15.5)
    assert np.allclose(by_itself.K, by_file.K)
    assert by_itself.T_base_camera[2, 3] == pytest.approx(0.3)


def test_which_checkpoints_take_part():
    simpler = arm_of(tap_contract(image_size=32))
    # A WidowX in SIMPLER: metres and radians, above 0.5 is open.
    delta = [0.03, 0, 0, 0.2, 0, 0, 1.0]
    assert simpler.action(np.array(delta)) == pytest.approx(delta)
    assert manner_of(tap_contract(), ("front",), {}, {}).names == {"front": "primary"}
    assert manner_of(tap_contract(), ("front",), {"front": "b"}, {}).names == {"front": "b"}
    for contract, says in (
        (foreign(tap_contract(), rate_hz=5.0), "LIBERO takes 20 actions a second, .* for 5"),
        (apt_contract(), "does not say where the tool is in our terms"),
        (dataclasses.replace(foreign(tap_contract()), robot_model="xarm"), "has a xarm"),
        (dataclasses.replace(tap_contract(), action_space="joint"), "actions are joint"),
    ):
        with pytest.raises(ContractError, match=says):
            arm_of(contract)
    with pytest.raises(ContractError, match="does not look through wrist, but through front"):
        manner_of(tap_contract(), ("front",), {"wrist": "x"}, {})
    with pytest.raises(ContractError, match="--image must be CAMERA=NAME"):
        names_of(["front"])


def test_a_file_of_cameras(tmp_path):
    row = {"K": EYE.K.tolist(), "size": [64, 64], "T_base_camera": np.eye(4).tolist()}
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps({"agentview": row}))
    assert read_eyes(path)["agentview"].size == (64, 64)
    for wrong in ({"size": [64]}, {"K": [[1]]}, {"K": [[0, 0, 0]] * 3}, {"size": [0.5, 64]}):
        with pytest.raises(ValueError, match="must be"):
            eye_from({**row, **wrong})
    path.write_text(json.dumps({"agentview": 3}))
    with pytest.raises(ContractError, match="give a JSON file with K, size and T_base_camera"):
        read_eyes(path)
    with pytest.raises(ContractError, match="128 x 64 px is of no camera"):
        EYE.K_of((128, 64))
