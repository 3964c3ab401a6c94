"""Instructions, their evaluation, and the teacher that carries them out."""

import numpy as np
import pytest

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SceneError
from vla_ros.core.rotations import rotvec_from_matrix
from vla_ros.sim import objects
from vla_ros.sim.tableware import PLATE
from vla_ros.sim.tasks import Task, TaskState, chained, parse_task, parse_tasks
from vla_ros.sim.teacher import MAX_STEP_M, MAX_STEP_RAD, ScriptedTeacher
from vla_ros.sim.trials import FAMILIES, trial_of
from vla_ros.sim.world import SimWorld

NOISE_M = 0.003
PLUM_IN_BOWL = Task("put", "plum", place="bowl")
STACK = Task("stack", "green block", place="yellow block")


@pytest.fixture(scope="module")
def world():
    """A world whose servos follow a stream of goals, arm away from the table's right side."""
    made = SimWorld(0, ("carrot", "plate", "apple"))
    made.driver.set_operating_modes("group", "arm", "position", "velocity", 0, 0)
    made.driver.set_operating_modes("single", "gripper", "current_based_position", "velocity", 0, 0)
    _run(made, 0.5)
    return made


def _run(world, seconds):
    for _ in range(round(seconds * 100)):
        world.step()


def _shift(world, name, offset):
    """Carry an object by hand."""
    start = world.qpos_names().index(f"{name}.x")
    world.data.qpos[start : start + 3] += offset


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("put the carrot on the plate", Task("put", "carrot")),
        ("Put the  apple onto the blue plate.", Task("put", "apple")),
        ("place the lemon on the plate", Task("put", "lemon")),
        ("push the pumpkin to the left", Task("push", "pumpkin", "left")),
        ("slide the eggplant right", Task("push", "eggplant", "right")),
        ("put the spoon on the cloth", Task("put", "spoon", place="cloth")),
        (
            "Robot, could you drop the plum into the bowl, please?",
            Task("put", "plum", place="bowl"),
        ),
        ("stack the green block on the yellow block", STACK),
        ("put the green block on top of the yellow block", STACK),
        ("put the green block in the bowl", Task("put", "green block", place="bowl")),
        ("put the plate on the plate", None),
        ("put the brick on the plate", None),
        ("put the carrot on the yellow block", None),
        ("stack the green block on the green block", None),
        ("put the carrot on the blue bowl", None),
        ("push the bowl to the left", None),
        ("push the spoon to the left", None),
        ("push the apple", None),
        ("please", None),
        ("yes", None),
        ("", None),
    ],
)
def test_instructions_are_understood_or_not(text, task):
    assert parse_task(text) == task


def test_every_task_understands_its_own_words_and_no_two_share_any():
    tasks = {task for family in FAMILIES.values() for task in family}
    tasks |= {Task("push", name, "left") for name in objects.PUSHED_TOY_NAMES}
    said = {}
    for task in tasks:
        for text in (task.instruction, *task.paraphrases):
            assert parse_task(text) == task, text
            assert said.setdefault(text, task) == task
        assert len(set(task.paraphrases)) == len(task.paraphrases) >= 10
        assert task.instruction not in task.paraphrases


def test_paraphrases_use_the_preposition_of_the_place():
    assert Task("put", "lemon", place="bowl").paraphrases[:2] == (
        "place the lemon into the bowl",
        "move the lemon into the bowl",
    )
    assert Task("put", "lemon", place="cloth").instruction == "put the lemon on the cloth"
    assert Task("push", "lemon", "left").paraphrases[1] == "nudge the lemon left"


def test_tasks_chained_in_one_sentence_are_told_apart():
    both = (Task("put", "carrot"), Task("push", "apple", "left"))
    sentence = "put the carrot on the plate, then push the apple to the left"
    assert chained(both) == sentence
    assert parse_tasks(sentence) == both
    assert parse_tasks("Put the carrot on the plate and then push the apple left.") == both
    assert parse_tasks("put the carrot on the plate then dance") == ()
    assert parse_tasks("push the apple left") == both[1:]


def test_families_have_objects_and_targets_enough_to_hold_some_out():
    known = {task for name, family in FAMILIES.items() if "novel" not in name for task in family}
    assert len({task.target for task in known if task.verb == "put"}) >= 8
    assert {task.place for task in known if task.verb == "put"} == set(objects.PLACES)
    assert not {task.target for task in known} & set(objects.NOVEL_TOY_NAMES)


def test_carrot_on_the_plate_counts_only_when_let_go_and_inside(world):
    task = Task("put", "carrot")
    world.reset(0, ("carrot", "plate", "apple"))
    assert task.evaluate(world) == TaskState(False, False)
    plate = world.object_pose("plate")[:3, 3]
    carrot = world.object_pose("carrot")[:3, 3]
    _shift(world, "carrot", plate - carrot + (0, 0, PLATE.floor_m + carrot[2]))
    assert task.evaluate(world) == TaskState(True, True)
    _shift(world, "carrot", (0.0, 0.0, 0.05))
    assert task.evaluate(world) == TaskState(True, False)  # held above it
    _shift(world, "carrot", (0.065, 0.0, -0.05))
    assert task.evaluate(world) == TaskState(False, False)  # on the rim


def test_push_is_judged_by_the_way_from_the_start(world):
    world.reset(0, ("carrot", "plate", "apple"))
    left, right = Task("push", "apple", "left"), Task("push", "apple", "right")
    assert left.evaluate(world) == TaskState(False, False)
    _shift(world, "apple", (0.0, 0.055, 0.0))
    assert left.evaluate(world) == TaskState(True, False)  # moved, so it was touched
    _shift(world, "apple", (0.0, 0.006, 0.0))
    assert left.evaluate(world) == TaskState(True, True)
    assert right.evaluate(world) == TaskState(True, False)
    _shift(world, "apple", (0.2, 0.0, 0.0))
    assert left.evaluate(world) == TaskState(True, False)


def _lay(world, **where):
    """Lay objects at (x, y, yaw) with the arm open above the table's right side."""
    q = arm.READY_RAD.copy()
    q[0] = -1.0
    world.reset(0, layout={name.replace("_", " "): at for name, at in where.items()}, arm_rad=q)


def test_toy_is_in_the_bowl_below_its_rim_and_inside_it(world):
    task = Task("put", "lemon", place="bowl")
    _lay(world, lemon=(0.3, -0.1, 0.0), bowl=(0.2, 0.1, 0.0))
    assert task.evaluate(world) == TaskState(False, False)
    # The lemon rests 17 mm high, the bowl's floor is 4 mm thick.
    _shift(world, "lemon", (-0.1, 0.2, 0.004))
    assert task.evaluate(world) == TaskState(True, True)
    _shift(world, "lemon", (0.055, 0.0, 0.025))
    assert task.evaluate(world).success  # leans on the wall, 29 of 30 mm higher
    _shift(world, "lemon", (0.002, 0.0, 0.0))
    assert not task.evaluate(world).success  # 57 mm off, 56 are inside
    _shift(world, "lemon", (-0.057, 0.0, 0.006))
    assert task.evaluate(world) == TaskState(True, False)  # above it


def test_spoon_is_on_the_cloth_along_the_cloths_own_sides(world):
    task = Task("put", "spoon", place="cloth")
    _lay(world, spoon=(0.3, -0.1, 0.0), cloth=(0.2, 0.1, np.pi / 4))
    # The cloth's half side is 60 mm, its corners point along x and y.
    _shift(world, "spoon", (-0.1 + 0.080, 0.2, 0.003))
    assert task.evaluate(world).success
    _shift(world, "spoon", (-0.080 + 0.048, 0.048, 0.0))
    assert not task.evaluate(world).success  # 68 mm along the side's normal


def test_block_is_stacked_when_it_rests_upon_the_other(world):
    _lay(world, green_block=(0.3, -0.1, 0.0), yellow_block=(0.2, 0.1, 0.5))
    assert STACK.evaluate(world) == TaskState(False, False)
    _shift(world, "green block", (-0.1 + 0.011, 0.2, 0.030))
    assert STACK.evaluate(world) == TaskState(True, True)
    _shift(world, "green block", (0.002, 0.0, 0.0))
    assert not STACK.evaluate(world).success  # 13 mm off, 12 are allowed
    _shift(world, "green block", (-0.013, 0.0, 0.007))
    assert not STACK.evaluate(world).success  # in the air


def test_grasp_needs_both_fingers_and_contact_one(world):
    """A lemon in the closed fingers, then one beside them."""
    grasped, pushed = Task("put", "lemon"), Task("push", "lemon", "left")
    _lay(world, lemon=(0.25, 0.0, 0.0), plate=(0.25, -0.2, 0.0))
    down = world.tool_pose()
    down[:3, 3] = 0.25, 0.0, 0.024
    down[:3, :3] = kinematics.forward(arm.READY_RAD)[:3, :3]
    q = kinematics.inverse(down, arm.READY_RAD)
    world.reset(0, layout=world.layout, arm_rad=q)
    assert grasped.evaluate(world) == pushed.evaluate(world) == TaskState(False, False)
    world.driver.command_single("gripper", arm.horn_from_opening(0.0))
    _run(world, 0.8)
    assert grasped.evaluate(world) == pushed.evaluate(world) == TaskState(True, False)
    # Closed fingers reach 20 mm to each side, a lemon 17 mm: beside them it touches one.
    world.reset(0, layout={**world.layout, "lemon": (0.25, 0.10, 0.0)}, arm_rad=q)
    _run(world, 0.8)
    assert pushed.evaluate(world) == TaskState(False, False)
    _shift(world, "lemon", (0.0, 0.036 - 0.10, 0.0))
    _run(world, 0.01)
    assert world.is_touched("lemon")
    assert grasped.evaluate(world) == TaskState(False, False)


def test_task_without_its_object_is_refused(world):
    world.reset(0, ("carrot", "plate", "apple"))
    with pytest.raises(SceneError, match="needs the lemon, which is not in play"):
        Task("put", "lemon").evaluate(world)
    with pytest.raises(SceneError, match="needs the lemon, which is not in play"):
        ScriptedTeacher(Task("put", "lemon"), np.random.default_rng(0)).action(
            world.tool_pose(), 1.0, world.object_poses()
        )


def _demonstrate(world, task, seed):
    """Follow the teacher through kinematics and the driver; return (number of steps, success)."""
    world.reset(0, layout=trial_of(task, seed, others=2).layout)
    teacher = ScriptedTeacher(task, np.random.default_rng(seed), NOISE_M)
    q, last, steps, done = arm.READY_RAD.copy(), world.tool_pose(), 0, False
    while not done and steps < 60:
        target, opening, done = teacher.action(
            world.tool_pose(), world.opening(), world.object_poses()
        )
        assert np.linalg.norm(target[:3, 3] - last[:3, 3]) <= MAX_STEP_M + 4 * NOISE_M
        turn = rotvec_from_matrix(target[:3, :3] @ last[:3, :3].T)
        assert np.linalg.norm(turn) <= MAX_STEP_RAD + 1e-9
        q_next = kinematics.inverse(target, q)
        world.driver.command_single("gripper", arm.horn_from_opening(opening))
        for k in range(1, 11):
            world.driver.command_group("arm", q + (q_next - q) * k / 10)
            _run(world, 0.02)
        q, last, steps = q_next, target, steps + 1
    _run(world, 0.4)
    return steps, task.evaluate(world).success


@pytest.mark.parametrize("family", FAMILIES)
def test_teacher_carries_tasks_of_each_family_out(world, family):
    tasks = FAMILIES[family]
    for seed in range(4):
        task = tasks[(7 * seed) % len(tasks)]
        steps, success = _demonstrate(world, task, seed)
        assert success, (seed, task.instruction)
        assert 10 <= steps <= 40


def _follow(teacher, pose, poses, steps):
    """Have a tool that is always where it is told to be follow; return its poses (steps, 4, 4)."""
    found = []
    for _ in range(steps):
        pose, _, _ = teacher.action(pose, 1.0, poses)
        found.append(pose)
    return np.array(found)


def test_a_hand_closes_when_it_is_there_and_not_a_step_later(world):
    """What rests open where it shall close would teach to rest."""
    world.reset(0, ("carrot", "plate"))
    poses, pose = world.object_poses(), world.tool_pose()
    teacher = ScriptedTeacher(Task("put", "carrot"), np.random.default_rng(0), 0.0)
    grasp_m = objects.TOYS["carrot"].grasp_height_m
    while pose[2, 3] > grasp_m + 1e-9:
        before = pose
        pose, opening, _ = teacher.action(pose, 1.0, poses)
        assert opening == 1.0
    # An arm that lags is waited for, with the hand open, and closes once it is there.
    for _ in range(3):
        target, opening, _ = teacher.action(before, 1.0, poses)
        assert (opening, target[2, 3]) == (1.0, grasp_m)
    target, opening, _ = teacher.action(pose, 1.0, poses)
    assert (opening, target[2, 3]) == (0.0, grasp_m)


def test_a_teacher_that_slips_tilts_aside_and_comes_back_pointing_down(world):
    world.reset(0, ("carrot", "plate"))
    poses, begin = world.object_poses(), world.tool_pose()
    rng = np.random.default_rng(0)
    ways = _follow(ScriptedTeacher(Task("put", "carrot"), rng, 0.0, slips=0.5), begin, poses, 60)
    height, tilt = ways[:, 2, 3], np.arccos(np.clip(-ways[:, 2, 0], -1.0, 1.0))
    assert tilt.max() > 0.15
    # Not tilted where it grasps, and never below the table.
    assert tilt[height < height.min() + 0.001].max() < 0.01
    assert height.min() > 0.0
    straight = _follow(ScriptedTeacher(Task("put", "carrot"), rng, 0.0), begin, poses, 60)
    assert np.allclose(ways[-1, :3, 3], straight[-1, :3, 3], atol=0.03)


def test_a_hand_that_missed_is_low_beside_what_it_was_to_take_and_its_teacher_goes_on(world):
    world.reset(0, ("carrot", "plate"))
    poses, begin = world.object_poses(), world.tool_pose()
    at = poses["carrot"][:3, 3]
    grasp_m = objects.TOYS["carrot"].grasp_height_m
    openings, far = set(), []
    for seed in range(40):
        teacher = ScriptedTeacher(Task("put", "carrot"), np.random.default_rng(seed), 0.0)
        pose, opening = teacher.missed(begin, poses)
        openings.add(opening)
        aside, above = np.abs(pose[:2, 3] - at[:2]).max(), pose[2, 3] - grasp_m
        far.append(aside > 0.03 or above > 0.05)
        assert aside <= (0.09 if far[-1] else 0.03)
        assert 0.005 <= above <= (0.12 if far[-1] else 0.05)
        # A rotation vector of at most 0.15 rad an axis tilts by as much about two of them.
        assert -pose[2, 0] > np.cos(0.15 * np.sqrt(3.0))
    assert openings == {0.0, 1.0}
    assert 5 < sum(far) < 30
    # Nothing of the try is left in what comes now: from low beside it, it first rises.
    pose[2, 3] = grasp_m
    target, opening, done = teacher.action(pose, opening, poses)
    assert (target[2, 3] > pose[2, 3], opening, done) == (True, 1.0, False)
    with pytest.raises(SceneError, match="needs the plate, which is not in play"):
        teacher.missed(begin, {"carrot": poses["carrot"]})


def test_a_hand_that_lost_its_toy_is_closed_higher_and_farther_off(world):
    world.reset(0, ("carrot", "plate"))
    poses, begin = world.object_poses(), world.tool_pose()
    at, grasp_m = poses["carrot"][:3, 3], objects.TOYS["carrot"].grasp_height_m
    aside = []
    for seed in range(40):
        teacher = ScriptedTeacher(Task("put", "carrot"), np.random.default_rng(seed), 0.0)
        pose, opening = teacher.missed(begin, poses, is_lost=True)
        assert opening == 0.0
        assert 0.04 <= pose[2, 3] - grasp_m <= 0.16
        aside.append(np.abs(pose[:2, 3] - at[:2]).max())
    assert 0.15 < max(aside) <= 0.20
    push = ScriptedTeacher(Task("push", "carrot", "left"), np.random.default_rng(0), 0.0)
    assert push.missed(begin, poses, is_lost=True)[1] == 1.0


def test_teacher_repeats_itself_with_the_same_generator(world):
    world.reset(3, ("carrot", "plate", "apple"))
    pose, poses = world.tool_pose(), world.object_poses()
    targets = [
        ScriptedTeacher(Task("put", "carrot"), np.random.default_rng(seed)).action(pose, 1.0, poses)
        for seed in (7, 7, 8)
    ]
    assert np.array_equal(targets[0][0], targets[1][0])
    assert not np.array_equal(targets[0][0], targets[2][0])


def test_teacher_starts_from_the_arm_when_it_was_left_behind(world):
    world.reset(0, ("carrot", "plate", "apple"))
    teacher = ScriptedTeacher(Task("put", "carrot"), np.random.default_rng(0), 0.0)
    pose, poses = world.tool_pose(), world.object_poses()
    for _ in range(5):
        target, _, _ = teacher.action(pose, 1.0, poses)
        assert np.linalg.norm(target[:3, 3] - pose[:3, 3]) <= 0.06 + MAX_STEP_M
