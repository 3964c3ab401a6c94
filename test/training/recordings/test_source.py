import json

import pytest
import yaml

from training.recordings.source import Gripper, Joints, Task, ToolPose, load_source, vla_source
from vla_ros.core import arm
from vla_ros.core.errors import ContractError

JOINTS = {
    "topic": "/joint_states",
    "names": list(arm.ARM_JOINTS),
    "gripper": {"name": "left_finger", "closed": 0.015, "open": 0.037},
}
SMALLEST = {"cameras": {"front": "/camera/color/image_raw/compressed"}, "joints": JOINTS}
FULL = {
    **SMALLEST,
    "robot_model": "panda",
    "base_frame": "panda_link0",
    "commanded": {**JOINTS, "topic": "/commanded"},
    "ee_pose": {"parent": "panda_link0", "child": "panda_hand"},
    "task": {"topic": "/instruction"},
    "kind": "policy",
}


@pytest.fixture
def load(tmp_path):
    def load_text(data):
        path = tmp_path / "source.yaml"
        path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
        return load_source(path)

    return load_text


def test_our_own_recordings_need_no_file():
    source = vla_source("left")
    assert source.image_topic("wrist") == "/wrist/image_raw/compressed"
    assert source.info_topic("wrist") == "/wrist/camera_info"
    assert source.joints.topic == "/left/joint_states"
    assert source.base_frame == "left/base_link"
    assert source.has_kinematics
    assert source.has_events


def test_what_a_file_leaves_out_is_as_with_us(load):
    source = load(SMALLEST)
    assert source.robot_model == "wx250s"
    assert source.has_events
    assert source.commanded is source.ee_pose is None
    assert source.joints == Joints(
        "/joint_states", arm.ARM_JOINTS, Gripper("left_finger", 0.015, 0.037)
    )
    assert source.info_topic("front") == "/camera/color/camera_info"


def test_a_full_file_is_read_and_travels_as_json(load):
    source = load(FULL)
    assert not source.has_kinematics
    assert not source.has_events
    assert source.ee_pose == ToolPose(parent="panda_link0", child="panda_hand")
    assert source.task == Task(topic="/instruction")
    assert source.commanded.topic == "/commanded"
    assert json.loads(json.dumps(source.to_dict()))["commanded"]["topic"] == "/commanded"
    assert load({**FULL, "ee_pose": {"topic": "/tool"}}).ee_pose == ToolPose(topic="/tool")
    assert load({**FULL, "task": {"text": ""}}).task == Task(text="")
    assert load({**FULL, "commanded": "none"}).commanded is None


@pytest.mark.parametrize(("closed", "opened", "half"), [(0.0, 0.04, 0.02), (0.8, 0.0, 0.4)])
def test_a_gripper_opens_from_closed_to_open_whichever_is_larger(closed, opened, half):
    gripper = Gripper("g", closed, opened)
    assert [gripper.opening(p) for p in (closed, half, opened)] == [0.0, 0.5, 1.0]


def test_a_gripper_without_ends_is_the_servo_of_the_wx250s():
    assert Gripper("gripper").opening(arm.horn_from_opening(0.25)) == pytest.approx(0.25)


def test_a_camera_that_the_file_does_not_name_is_refused(load):
    with pytest.raises(ContractError, match="names no camera 'wrist'; it names front"):
        load(SMALLEST).image_topic("wrist")


def without(data, key):
    return {name: value for name, value in data.items() if name != key}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{:", "cannot be read .while"),
        ("3", "must hold keys and values, got 3"),
        (without(SMALLEST, "joints"), "lacks joints and has unknown keys none"),
        ({**SMALLEST, "colour": 1}, "unknown keys colour; known are cameras, joints, robot_model"),
        ({**SMALLEST, "cameras": {}}, "cameras of .* must give a topic a name"),
        ({**SMALLEST, "cameras": {"front": "image"}}, "must be a topic and begin with /"),
        ({**SMALLEST, "robot_model": 7}, "robot_model of .* must be a text, got 7"),
        ({**SMALLEST, "joints": {**JOINTS, "names": ["a", "a"]}}, "list of different joints"),
        ({**SMALLEST, "joints": {**JOINTS, "names": ["a", "b"]}}, "must name the 6 joints"),
        ({**SMALLEST, "joints": without(JOINTS, "gripper")}, "joints of .* lacks gripper"),
        ({**SMALLEST, "joints": {**JOINTS, "gripper": {"name": "g", "open": 1}}},
         "two different numbers closed and open, got None and 1"),
        ({**SMALLEST, "joints": {**JOINTS, "gripper": {"name": "g", "open": 1, "closed": 1}}},
         "two different numbers"),
        ({**FULL, "commanded": {**JOINTS, "names": ["a"]}}, "names 1 joints, joints 6"),
        ({**FULL, "ee_pose": {"parent": "base"}}, "ee_pose of .* lacks child"),
        ({**FULL, "task": {"text": 3}}, "must be the instruction, got 3"),
        ({**FULL, "kind": "dance"}, "one of play, demo, policy, got 'dance'"),
        (without(FULL, "kind"), "must give task and kind, or neither"),
        (without(FULL, "task"), "must give task and kind, or neither"),
    ],
)  # fmt: skip
def test_refuses_a_file_that_does_not_say_what_is_needed(load, data, message):
    with pytest.raises(ContractError, match=message):
        load(data)


def test_refuses_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ContractError, match="cannot be read .*No such file"):
        load_source(tmp_path / "none.yaml")
