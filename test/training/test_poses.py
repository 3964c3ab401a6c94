import json

import numpy as np
import pytest

from training.poses import bounds_from, drawn_region, main, read_poses
from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SafetyError
from vla_ros.core.pose_library import PoseLibrary
from vla_ros.core.rotations import transform

SECOND_NS = 1_000_000_000
DOWN = kinematics.forward(arm.READY_RAD)[:3, :3]


def joints_at(*position_m):
    return kinematics.inverse(transform(DOWN, np.array(position_m)), arm.READY_RAD)


LOW = joints_at(0.25, 0.0, 0.06)
ASIDE = joints_at(0.25, 0.13, 0.06)
FAILED_READ = np.full(6, -np.pi)


def write(bag_writer, name, joints, seconds=1):
    """Write a bag with a joint state every `seconds`."""
    states = [(int(i * seconds * SECOND_NS) + 1, (q, 1.0)) for i, q in enumerate(joints)]
    return bag_writer.write(name, states, [], [], [], omit=("/vla/episode",))


def test_library_holds_the_believed_poses_inside_the_bounds_once_a_cube(bag_writer, tmp_path):
    # The ready pose is above the bounds; LOW comes twice, and once nearly.
    joints = [arm.READY_RAD, LOW, FAILED_READ, LOW, LOW + 0.02, ASIDE]
    path = write(bag_writer, "teleoperated", joints)
    out = tmp_path / "poses.json"
    assert main([str(path), "--out", str(out)]) == 0
    library = PoseLibrary.from_json(out.read_text())
    assert library.source == "teleoperated"
    assert len(library) == 2
    np.testing.assert_allclose(
        sorted(library.poses[:, 1, 3]), [kinematics.forward(LOW)[1, 3], 0.13], atol=0.012
    )


def test_table_counts_what_became_of_the_joint_states(bag_writer, tmp_path, capsys):
    joints = [arm.READY_RAD, LOW, FAILED_READ, LOW, ASIDE]
    path = write(bag_writer, "teleoperated", joints)
    assert main([str(path), "--out", str(tmp_path / "poses.json")]) == 0
    numbers = [line.split()[-1] for line in capsys.readouterr().out.splitlines()[:5]]
    assert numbers == ["5", "4", "3", "2", "2"]


def test_jump_within_a_bag_is_not_believed_but_a_new_bag_begins_anew(bag_writer):
    first = write(bag_writer, "a", [LOW, ASIDE], seconds=0.01)
    second = write(bag_writer, "b", [ASIDE])
    _, counts, left_out = read_poses([first, second])
    assert (counts.read, counts.believed, left_out) == (3, 2, [])


def test_bag_without_joint_states_is_left_out_and_named(bag_writer, tmp_path, capsys):
    good = write(bag_writer, "good", [LOW])
    bad = bag_writer.write("bad", [], [(1, (LOW, 1.0))], [], [], omit=("/wx250s/joint_states",))
    assert main([str(good), str(bad), "--out", str(tmp_path / "poses.json")]) == 0
    assert "left out: bag" in capsys.readouterr().err


def test_no_pose_inside_is_one_sentence_and_no_file(bag_writer, tmp_path, capsys):
    path = write(bag_writer, "high", [arm.READY_RAD])
    out = tmp_path / "poses.json"
    assert main([str(path), "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert "training.poses: a pose library needs at least one tool pose" in captured.err
    # The table says why: the tips were never lower than 0.135 m.
    assert "height of the tips [m]" in captured.out
    assert not out.exists()


def test_bounds_can_be_widened(bag_writer, tmp_path):
    path = write(bag_writer, "high", [arm.READY_RAD])
    out = tmp_path / "poses.json"
    assert main([str(path), "--out", str(out), "--set", "height_high_m=0.2"]) == 0
    assert len(json.loads(out.read_text())["poses"]) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("speed_m_s=1", "'speed_m_s' is no bound; use x_low_m"),
        ("x_low_m", "'' is not a number"),
        ("x_low_m=0.01", r"x_low_m \(.*\) must be from 0.1 to 0.5 m"),
    ],
)
def test_bad_bound_is_refused(setting, message):
    with pytest.raises(SafetyError, match=message):
        bounds_from([setting], {})


def test_help_teaches_the_bounds(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "Record the bags while you move the arm" in text
    assert "tilt_limit_rad  largest tilt from straight down: 0.25 rad, from 0.0 to 0.6" in text


@pytest.mark.parametrize(
    "text",
    ["", "{", "/**: {ros__parameters: {}}",
     "/**/explorer: {ros__parameters: {exploration: {speed: 1.0}}}",
     "/**/explorer: {ros__parameters: {exploration: {x_low_m: near}}}"],
)  # fmt: skip
def test_another_file_than_a_drawn_workspace_is_refused(tmp_path, text):
    path = tmp_path / "workspace.yaml"
    path.write_text(text)
    with pytest.raises(SafetyError, match="is no file that training.workspace wrote"):
        drawn_region(path)
