import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from training import workspace
from training.calibration.touched_table import Table, fit_table, table_sentences
from training.poses import main as make_poses
from vla_ros.core import arm, kinematics
from vla_ros.core.errors import CalibrationError
from vla_ros.core.exploration import ExplorationParameters
from vla_ros.core.limits import SafetyParameters
from vla_ros.core.play_parameters import require_room
from vla_ros.core.pose_library import PoseLibrary
from vla_ros.core.rotations import transform

MS = 1_000_000
# Tool x straight down, fingers along y: its lowest point is 15.425 mm below the tool point.
DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
TIP_M = 0.015425
LEVEL = Table(np.zeros((1, 3)), np.zeros(3), True)
CORNERS = [(x, y) for x in (0.15, 0.35) for y in (-0.2, 0.2)]


def tips(a, b, c, places=CORNERS):
    """Return points on the plane z = a x + b y + c."""
    return np.array([[x, y, a * x + b * y + c] for x, y in places])


def joints_at(x, y, z, q=arm.READY_RAD):
    return kinematics.inverse(transform(DOWN, np.array([x, y, z])), q)


def test_the_box_less_its_margin_is_the_region():
    tool = np.array([[0.15, -0.22, 0.03], [0.37, 0.28, 0.25]])
    region = workspace.play_region(tool, np.array([0.0, 0.15]), LEVEL, 0.02)
    assert (region.x_low_m, region.x_high_m) == (0.17, 0.35)
    # To both sides alike: the nearer one counts. Furthest out is hypot(0.37, 0.28) = 0.464.
    assert region.y_limit_m == 0.2
    assert region.radius_limit_m == 0.444
    assert region.height_high_m == 0.13
    assert (region.height_low_m, region.descent_low_m, region.descent_high_m) == (0.01, 0.01, 0.02)


def test_beyond_the_arms_own_bounds_the_region_is_cut():
    tool = np.array([[0.02, -0.6, 0.03], [0.60, 0.6, 0.5]])
    region = workspace.play_region(tool, np.array([0.0, 0.5]), LEVEL, 0.0)
    assert (region.x_low_m, region.x_high_m, region.y_limit_m) == (0.10, 0.5, 0.4)
    assert (region.radius_limit_m, region.height_high_m) == (0.46, 0.3)


def test_over_a_high_table_play_stays_higher():
    table = fit_table(tips(0.02, 0, 0.003))
    tool = np.array([[0.15, -0.22, 0.03], [0.37, 0.22, 0.25]])
    region = workspace.play_region(tool, np.array([0.0, 0.15]), table, 0.02)
    # At x = 0.35 the table is at 0.02 * 0.35 + 0.003 = 0.010 m.
    assert (region.height_low_m, region.descent_low_m, region.hover_height_m) == (0.02, 0.02, 0.09)
    said = table_sentences(table, region)
    assert "under the region the table is at z = +6.4 to +10.0 mm" in said[0]
    assert said[1].startswith("WARNING: the table is not at z = 0")
    box = workspace.safety_box(tool, 0.02, 0.010, region)
    assert (box.table_clearance_m, box.workspace_low_m[2]) == (0.015, 0.02)
    # Up: 13 cm for the tips, and under the tool they reach 15.4 mm, and 39.7 mm * sin(0.25) more
    # where it leans; the drawing went to 0.25 - 0.02 m.
    assert box.workspace_high_m == (0.35, 0.2, 0.23)


def test_refuses_a_box_with_no_room():
    tool = np.array([[0.2, -0.3, 0.03], [0.3, 0.05, 0.25]])
    with pytest.raises(CalibrationError, match="leaves 0.06 m forwards and 0.06 m sideways"):
        workspace.play_region(tool, np.array([0.0, 0.15]), LEVEL, 0.02)


def test_refuses_a_drawing_that_stayed_low():
    tool = np.array([[0.15, -0.3, 0.03], [0.35, 0.3, 0.05]])
    with pytest.raises(CalibrationError, match="led up to 0.04 m only, play needs at least 0.10"):
        workspace.play_region(tool, np.array([0.0, 0.04]), LEVEL, 0.02)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.05, 0.3), st.floats(0.3, 0.7), st.floats(-0.6, 0.0), st.floats(0.0, 0.6),
    st.floats(0.1, 0.6), st.floats(0.0, 0.1),
)  # fmt: skip
def test_the_safety_box_holds_sleep_ready_and_the_region(x0, x1, y0, y1, z1, margin):
    region = ExplorationParameters()
    box = workspace.safety_box(np.array([[x0, y0, 0.0], [x1, y1, z1]]), margin, 0.0, region)
    excess = box.limits().excess(np.stack([arm.SLEEP_RAD, arm.READY_RAD]))
    assert np.all(excess == 0)
    require_room(region, box.limits())


def drawing(bag_writer, name="demo-00000"):
    """Write a bag of a hand that touches the table at four corners, and lifts between them."""
    joints, stamp_ms, q, here = [], 0, arm.READY_RAD, np.array([0.25, 0.0, 0.15])
    places = [(x, y, z) for x, y in CORNERS for z in (TIP_M + 0.002, 0.2)]
    for there in map(np.array, places):
        for part in np.linspace(0, 1, 40, endpoint=False):
            q = joints_at(*(here + part * (there - here)), q)
            joints.append((stamp_ms * MS, (q, 0.5)))
            stamp_ms += 25
        q, here = joints_at(*there, q), there
        for _ in range(40):
            joints.append((stamp_ms * MS, (q, 0.5)))
            stamp_ms += 25
    return bag_writer.write(name, joints, joints[:1], [], bag_writer.events(name, "demo", "draw"))


def test_a_drawing_becomes_a_parameter_file(bag_writer, tmp_path, capsys):
    out = tmp_path / "workspace.yaml"
    assert workspace.main([str(drawing(bag_writer)), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "4 touches, 0." in said
    assert "z = +2." in said or "z = +1." in said
    assert "WARNING" not in said
    nodes = yaml.safe_load(out.read_text())
    region = nodes["/**/explorer"]["ros__parameters"]["exploration"]
    assert region["x_low_m"] == pytest.approx(0.17, abs=0.002)
    assert region["x_high_m"] == pytest.approx(0.33, abs=0.002)
    assert region["y_limit_m"] == pytest.approx(0.18, abs=0.002)
    # The table is 2 mm high, and so are the least heights over it.
    assert region["height_low_m"] == pytest.approx(0.012, abs=0.001)
    assert region["height_high_m"] == pytest.approx(0.2 - TIP_M - 0.02, abs=0.003)
    # What no other node than the explorer has is not in the section for all.
    assert list(nodes["/**"]["ros__parameters"]) == ["safety"]
    safety = SafetyParameters(**nodes["/**"]["ros__parameters"]["safety"])
    require_room(ExplorationParameters(**region), safety.limits())
    check_poses(bag_writer, out, region, tmp_path / "poses.json")


def check_poses(bag_writer, drawn, region, out):
    """The file's bounds are those of a library that is made with it."""
    inside, aside = joints_at(0.25, 0.0, 0.06), joints_at(0.25, 0.19, 0.06)
    states = [(MS, (inside, 1.0)), (1001 * MS, (aside, 1.0))]
    bag = bag_writer.write("poses", states, [], [], [], omit=("/vla/episode",))
    assert make_poses([str(bag), "--workspace", str(drawn), "--out", str(out)]) == 0
    library = PoseLibrary.from_json(out.read_text())
    assert library.bounds["y_limit_m"] == region["y_limit_m"]
    assert len(library) == 1


def test_does_not_write_over_a_file(tmp_path, capsys):
    (tmp_path / "old.yaml").write_text("kept")
    assert workspace.main([str(tmp_path), "--out", str(tmp_path / "old.yaml")]) == 1
    assert "exists; move it away" in capsys.readouterr().err


def test_refuses_joint_states_that_are_all_failed_reads(bag_writer, tmp_path, capsys):
    failed = [(i * 10 * MS, (np.full(6, -np.pi), 0.5)) for i in range(5)]
    bag = bag_writer.write("demo-00000", failed, [], [], bag_writer.events("demo-00000"))
    assert workspace.main([str(bag), "--out", str(tmp_path / "x.yaml")]) == 1
    assert "no joint state of 1 bags is to be believed" in capsys.readouterr().err


def test_refuses_a_margin_out_of_range(tmp_path, capsys):
    command = [str(tmp_path), "--margin", "0.5", "--out", str(tmp_path / "x.yaml")]
    assert workspace.main(command) == 1
    assert "--margin must be from 0 to 0.1 m" in capsys.readouterr().err
