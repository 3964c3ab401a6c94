"""Physics, layout and joint states of the simulated arm."""

import numpy as np
import pytest

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SceneError
from vla_ros.core.rotations import rotvec_from_matrix
from vla_ros.sim import objects, scene
from vla_ros.sim.layouts import sample_layout
from vla_ros.sim.world import SimWorld


@pytest.fixture(scope="module")
def shared():
    """One world for tests that reset it themselves."""
    return SimWorld(seed=0)


def _streaming(world):
    world.driver.set_operating_modes("group", "arm", "position", "velocity", 0, 0)
    world.driver.set_operating_modes(
        "single", "gripper", "current_based_position", "velocity", 0, 0
    )
    _run(world, 0.5)


def _run(world, seconds):
    for _ in range(round(seconds * 100)):
        world.step()


def _move_tool(world, T_base_tool, opening, seconds=1.0):
    q_from = np.array(world.driver.reference(0.0).arm_rad)
    q_to = kinematics.inverse(T_base_tool, q_from)
    world.driver.command_single("gripper", arm.horn_from_opening(opening))
    steps = round(seconds * 50)
    for k in range(1, steps + 1):
        world.driver.command_group("arm", q_from + (q_to - q_from) * k / steps)
        _run(world, 0.02)


def test_equal_seeds_give_equal_bits_and_other_seeds_other_layouts():
    states = []
    for seed in (5, 5, 6):
        world = SimWorld(seed)
        world.driver.command_group("arm", arm.READY_RAD + 0.3)
        world.driver.command_single("gripper", -300.0)
        _run(world, 1.5)
        states.append(world.qpos())
    assert states[0].tobytes() == states[1].tobytes()
    assert not np.array_equal(states[0], states[2])


def test_reset_repeats_a_layout_and_lets_time_go_on(shared):
    layout = dict(shared.reset(11))
    before_ns = shared.time_ns
    _run(shared, 0.1)
    assert shared.time_ns == before_ns + 100_000_000
    assert shared.reset(12) != layout
    assert shared.reset(11) == layout
    assert shared.time_ns == before_ns + 100_000_000


def test_reset_that_keeps_the_arm_does_not_move_it(shared):
    shared.reset(1)
    shared.driver.command_group("arm", arm.READY_RAD + 0.2)
    _run(shared, 3.0)
    before = shared.joint_state()[1]
    shared.reset(2, keep_arm=True)
    assert shared.joint_state()[1] == pytest.approx(before)
    _run(shared, 0.5)
    assert shared.joint_state()[1] == pytest.approx(before, abs=2e-3)
    shared.reset(2)
    assert shared.joint_state()[1][:6] == pytest.approx(arm.READY_RAD)


def test_core_kinematics_equal_the_model_for_random_joints(shared):
    rng = np.random.default_rng(0)
    for _ in range(50):
        q = rng.uniform(arm.LOWER_RAD, arm.UPPER_RAD)
        shared.data.qpos[:6] = q
        simulated, computed = shared.tool_pose(), kinematics.forward(q)
        assert simulated[:3, 3] == pytest.approx(computed[:3, 3], abs=1e-6)
        turn = rotvec_from_matrix(simulated[:3, :3] @ computed[:3, :3].T)
        assert np.linalg.norm(turn) < 1e-6
    shared.reset(0)


def test_joint_state_has_the_names_units_and_signs_of_xs_sdk(shared):
    shared.reset(0)
    _run(shared, 0.5)
    names, position, velocity, effort = shared.joint_state()
    assert names == arm.JOINT_STATE_NAMES
    assert position.shape == velocity.shape == effort.shape == (9,)
    assert position[7] == pytest.approx(arm.FINGER_OPEN_M, abs=2e-4)
    assert position[8] == -position[7]
    assert arm.finger_from_horn(position[6]) == pytest.approx(position[7], abs=2e-4)
    assert not velocity[7:].any()
    assert not effort[7:].any()
    # The stretched upper links pull the shoulder and the elbow down: a few hundred mA each.
    assert -1000 < effort[1] < -100
    assert abs(effort[0]) < 1.0


def test_joint_moves_where_the_driver_leads_it(shared):
    shared.reset(0)
    shared.driver.command_single("waist", 0.4)
    _run(shared, 3.0)
    assert shared.joint_state()[1][0] == pytest.approx(0.4, abs=1e-3)


def test_limp_arm_sags_and_rises_to_the_goal_that_it_kept(shared):
    shared.reset(0)
    start = shared.tool_pose()[2, 3]
    shared.driver.torque_enable("group", "arm", False)
    _run(shared, 0.5)
    sagged = shared.tool_pose()[2, 3]
    assert 0.01 < start - sagged < 0.15
    shared.driver.torque_enable("group", "arm", True)
    _run(shared, 3.0)
    assert shared.tool_pose()[2, 3] == pytest.approx(start, abs=0.01)


def test_pwm_closes_and_opens_the_gripper_and_zero_leaves_it(shared):
    shared.reset(0)
    shared.driver.set_operating_modes("single", "gripper", "pwm", "velocity", 0, 0)
    _run(shared, 0.2)
    for duty, opening in ((-350.0, 0.0), (0.0, 0.0), (250.0, 1.0)):
        shared.driver.command_single("gripper", duty)
        _run(shared, 1.0)
        assert shared.opening() == pytest.approx(opening, abs=0.05)
    shared.driver.command_single("gripper", 0.0)


def test_objects_rest_where_the_layout_put_them():
    world = SimWorld(seed=4, objects=("carrot", "banana", "spoon", "bowl", "cloth", "yellow block"))
    _run(world, 3.0)
    for name, (x, y, _) in world.layout.items():
        position = world.object_pose(name)[:3, 3]
        # A banana settles on its bend.
        assert position[:2] == pytest.approx((x, y), abs=0.004)
        assert -0.001 < position[2] < 0.03


def test_parked_objects_stay_where_they_are(shared):
    shared.reset(0, objects=("carrot", "plate"))
    _run(shared, 2.0)
    names, qpos = shared.qpos_names(), shared.qpos()
    assert len(names) == len(qpos)
    for index, name in enumerate(objects.OBJECT_NAMES):
        if name not in ("carrot", "plate"):
            start = names.index(f"{name}.x")
            assert qpos[start : start + 3] == pytest.approx(scene.parking_position(index))
            assert scene.is_parked(qpos[start])
    shared.reset(0, objects=("carrot", "plate", "banana", "apple", "pumpkin"))


def test_object_that_comes_back_into_play_is_solid_again(shared):
    """What is parked touches nothing; what lies on the table must not fall through it."""
    body = shared.model.body("plum").id
    for objects_in_play, is_solid in ((("carrot",), False), (("plum", "bowl"), True)):
        shared.reset(0, objects=objects_in_play)
        assert bool(shared.model.body_contype[body]) == is_solid
        assert bool(shared.model.body_conaffinity[body]) == is_solid
    _run(shared, 0.5)
    assert shared.object_pose("plum")[2, 3] == pytest.approx(0.0185, abs=1e-3)
    shared.reset(0, objects=("carrot", "plate", "banana", "apple", "pumpkin"))


@pytest.mark.parametrize("name", ["carrot", "apple"])
def test_object_can_be_grasped_lifted_and_carried(name):
    world = SimWorld(seed=1, objects=(name,))
    _streaming(world)
    world.reset(3)
    toy = objects.TOYS[name]
    start = world.object_pose(name)
    across = np.array([0.0, 1.0, 0.0]) if toy.grasp_axis is None else start[:3, 1]
    down = np.array([0.0, 0.0, -1.0])
    tool = np.eye(4)
    tool[:3, :3] = np.stack([down, across, np.cross(down, across)], axis=1)
    for height, opening in ((0.12, 1.0), (toy.grasp_height_m, 1.0), (toy.grasp_height_m, 0.0)):
        tool[:3, 3] = start[0, 3], start[1, 3], height
        _move_tool(world, tool, opening)
    tool[2, 3] = 0.15
    _move_tool(world, tool, 0.0)
    tool[:2, 3] = 0.22, -0.10
    _move_tool(world, tool, 0.0)
    held = world.object_pose(name)[:3, 3]
    assert held[2] > 0.12
    assert held[:2] == pytest.approx((0.22, -0.10), abs=0.02)
    assert 0.0 < world.opening() < 0.95


def test_layouts_are_reachable_apart_and_not_under_the_tool():
    names = ("carrot", "plate", "banana", "apple", "pumpkin")
    tool = np.array([0.25, 0.0])
    for seed in range(20):
        layout = sample_layout(np.random.default_rng(seed), names, tool)
        assert tuple(layout) == names
        for name, (x, y, _) in layout.items():
            assert 0.19 <= np.hypot(x, y) <= 0.38
            if name != "plate":
                assert np.hypot(x - 0.25, y) >= objects.footprint_m(name) + 0.02
            for other, (other_x, other_y, _) in layout.items():
                if other != name:
                    gap = np.hypot(x - other_x, y - other_y)
                    assert gap >= objects.footprint_m(name) + objects.footprint_m(other) + 0.02


def test_unknown_and_absent_objects_are_refused(shared):
    with pytest.raises(SceneError, match="object 'brick' is not in the simulated scene; choose"):
        SimWorld(0, ("brick",))
    with pytest.raises(SceneError, match="name one twice"):
        shared.reset(0, objects=("carrot", "carrot"))
    with pytest.raises(SceneError, match="'lemon' is not in play; the scene has carrot"):
        shared.object_pose("lemon")


def test_too_little_room_is_a_sentence(monkeypatch):
    monkeypatch.setattr("vla_ros.sim.layouts.LAYOUT_X_M", (0.2, 0.2001))
    monkeypatch.setattr("vla_ros.sim.layouts.LAYOUT_Y_M", (0.1, 0.1001))
    with pytest.raises(SceneError, match="do not fit on the reachable table; use fewer"):
        sample_layout(np.random.default_rng(0), ("carrot", "plate"), np.zeros(2))
