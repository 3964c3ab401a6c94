"""Fixed layouts and scenarios: the same for every policy, reachable, and changed in one thing."""

import numpy as np
import pytest

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SceneError
from vla_ros.sim import objects
from vla_ros.sim.caption_facts import project
from vla_ros.sim.layouts import fixed_layout
from vla_ros.sim.looks import BACKGROUNDS, STANDARD
from vla_ros.sim.tasks import PUSH_DISTANCE_M, Task
from vla_ros.sim.trials import FAMILIES, SCENARIOS, trial_of
from vla_ros.sim.world import SimWorld

TASKS = [task for family in FAMILIES.values() for task in family]
CARROT = Task("put", "carrot")
CARROT_OF_SEED_7 = (0.195, -0.0999)


def _trials(scenario, others, count=60):
    return [trial_of(TASKS[seed % len(TASKS)], seed, scenario, others) for seed in range(count)]


def _down(x, y, z):
    pose = kinematics.forward(arm.READY_RAD)
    pose[:3, 3] = x, y, z
    return pose


def test_layouts_never_overlap():
    for trial in _trials("distractors", 3):
        places = list(trial.layout.items())
        assert len(places) >= 1 + 3 + 3
        for k, (name, (x, y, _)) in enumerate(places):
            for other, (other_x, other_y, _) in places[:k]:
                apart = np.hypot(x - other_x, y - other_y)
                assert apart > objects.footprint_m(name) + objects.footprint_m(other) + 0.0199


def test_arm_reaches_what_it_is_told_to_touch():
    for trial in _trials("standard", 3):
        reached = [trial.layout[name][:2] for name in trial.layout]
        if trial.task.verb == "push":
            x, y = trial.layout[trial.task.target][:2]
            reached += [(x, y + PUSH_DISTANCE_M), (x, y - PUSH_DISTANCE_M)]
        for x, y in reached:
            start = arm.READY_RAD.copy()
            start[0] = np.arctan2(y, x)
            kinematics.inverse(_down(x, y, 0.12), kinematics.inverse(_down(x, y, 0.03), start))


def test_way_of_a_push_is_free():
    for trial in _trials("distractors", 3):
        if trial.task.verb != "push":
            continue
        x, y = trial.layout[trial.task.target][:2]
        for name, (other_x, other_y, _) in trial.layout.items():
            if name != trial.task.target and abs(other_y - y) < 0.12:
                assert abs(other_x - x) > objects.footprint_m(name) + 0.04


def test_equal_arguments_give_equal_scenes_and_others_give_others():
    first, again = trial_of(CARROT, 7, others=2), trial_of(CARROT, 7, others=2)
    assert first.layout == again.layout
    assert trial_of(CARROT, 8, others=2).layout != first.layout
    # Written down, so that no change moves them unseen between two policies' measurements.
    x, y, _ = trial_of(CARROT, 7).layout["carrot"]
    assert (round(x, 4), round(y, 4)) == CARROT_OF_SEED_7


def test_scenarios_change_one_thing_each():
    standard = _trials("standard", 2, 30)
    for scenario in SCENARIOS:
        for trial, plain in zip(_trials(scenario, 2, 30), standard, strict=True):
            known = {n: at for n, at in trial.layout.items() if n not in objects.DISTRACTOR_NAMES}
            assert known == plain.layout
            changes = (
                len(known) < len(trial.layout),
                not np.array_equal(trial.arm_rad, plain.arm_rad),
                trial.look != STANDARD,
            )
            assert sum(changes) == (scenario != "standard"), scenario


def test_three_to_five_distractors_stand_about_in_sight():
    counts, names = set(), set()
    for trial in _trials("distractors", 2):
        about = [name for name in trial.layout if name in objects.DISTRACTOR_NAMES]
        counts.add(len(about))
        names.update(about)
        for name in about:
            u, v, _ = project("front", (*trial.layout[name][:2], 0.02))
            assert 0.02 < u < 0.98
            assert 0.02 < v < 0.98
    assert counts == {3, 4, 5}
    assert names == set(objects.DISTRACTOR_NAMES)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_variants_of_a_scenario_are_as_often_whatever_seeds_one_takes(step):
    found = [trial_of(CARROT, seed, "background").look for seed in range(0, 80 * step, step)]
    for look in BACKGROUNDS:
        assert 16 <= found.count(look) <= 24


def test_arm_starts_off_its_usual_place_but_above_the_table():
    ready = kinematics.forward(arm.READY_RAD)[:3, 3]
    offsets = []
    for seed in range(40):
        tool = kinematics.forward(trial_of(CARROT, seed, "initial state").arm_rad)
        offsets.append(tool[:3, 3] - ready)
        assert kinematics.lowest_gripper_point_m(tool) > 0.05
    assert np.abs(offsets).max(axis=0) == pytest.approx((0.05, 0.08, 0.05), rel=0.2)
    assert np.all(np.abs(offsets) <= np.array((0.05, 0.08, 0.05)) + 1e-3)


def test_world_is_laid_out_as_the_trial_says():
    world = SimWorld(seed=0)
    trial = trial_of(CARROT, 3, "initial state", others=1)
    assert world.reset(0, layout=trial.layout, arm_rad=trial.arm_rad) == trial.layout
    assert set(world.objects) == set(trial.layout)
    assert world.object_pose("carrot")[:2, 3] == pytest.approx(trial.layout["carrot"][:2])
    assert world.joint_state()[1][:6] == pytest.approx(trial.arm_rad)
    for _ in range(20):
        world.step()
    # The driver holds the arm where it was put.
    assert world.joint_state()[1][:6] == pytest.approx(trial.arm_rad, abs=0.02)


def test_refusals_are_sentences(monkeypatch):
    monkeypatch.setattr("vla_ros.sim.layouts._MAX_ATTEMPTS", 3)
    with pytest.raises(SceneError, match="scenario 'night' is not one of .* standard, initial"):
        trial_of(CARROT, 0, "night")
    with pytest.raises(SceneError, match="do not fit on the reachable table; use fewer"):
        fixed_layout(0, objects.KNOWN_NAMES)
