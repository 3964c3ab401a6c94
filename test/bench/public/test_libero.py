"""LIBERO-PRO's way from expert to score, in a world of points that LIBERO's shapes are given to.

The packages themselves are not here: `python -m bench.public.libero` runs them.
"""

import dataclasses
import json
import threading

import numpy as np
import pytest

from bench.public import libero, libero_demos, libero_run, scores
from bench.public.libero_expert import DOWN, LIFTED, Expert
from bench.public.libero_peer_world import (
    CLOSE,
    IDLE,
    OPEN,
    SIDE_PX,
    TRANSLATION_M,
    Goal,
    Seen,
    goal_of,
    mirrored_intrinsics,
    seen_of,
)
from bench.public.libero_run import Outcome
from bench.public.vla_eval_client import RefusedError, connected
from training import lerobot_import
from training.learning.apt_windows import Chunks
from training.learning.dataset import open_dataset
from training.lerobot.source import LerobotSource
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import ContractError
from vla_ros.core.observation import Chunk
from vla_ros.core.rotations import matrix_from_rotvec
from vla_ros.policy.remote_access import Address
from vla_ros.policy.vla_eval_cameras import read_eyes
from vla_ros.policy.vla_eval_server import VlaEvalServer
from vla_ros.policy.vla_eval_session import manner_of

GOAL = Goal("in", "milk_1", "basket_1")


class World:
    """A tool that goes 8 tenths of what is asked for, and takes what it closes about.

    A thing whose name is in `slippery` is lost at the first try.
    """

    name_says, slippery = "pick up the soup", ()

    def __init__(self, suite="libero_object", task=0, seed=0, goal=GOAL):
        self.suite, self.task, self.goal = suite, task, goal
        self.instruction = f"pick the milk {task}"

    def begin(self, layout):
        self.tool, self.opening = np.array([-0.2, 0.0, 0.25]), 0.02
        self.at = {
            self.goal.thing: np.array([0.0, -0.2, 0.03]),
            self.goal.target: np.array([0.0, 0.25, 0.03]),
        }
        self.held, self.grasps, self.actions = None, 0, []
        return self.seen()

    def step(self, action):
        self.actions.append(np.array(action))
        assert np.all(np.abs(action) <= 1)
        self.tool = self.tool + 0.8 * TRANSLATION_M * np.asarray(action[:3])
        was_open, self.opening = self.opening > 0.02, 0.04 if action[6] < 0 else 0.01
        thing = self.at[self.goal.thing]
        if self.opening < 0.02 and was_open and np.abs(self.tool - thing).max() < 0.06:
            self.grasps += 1
            is_lost = self.goal.thing in self.slippery and self.grasps == 1
            self.held = None if is_lost else thing - self.tool
        if self.opening > 0.02:
            self.held = None
        if self.held is not None:
            self.at[self.goal.thing] = self.tool + self.held
        apart = self.at[self.goal.thing] - self.at[self.goal.target]
        return bool(self.held is None and np.abs(apart[:2]).max() < 0.03)

    def seen(self):
        state = np.float32([*self.tool, np.pi, 0, 0, self.opening, -self.opening])
        return Seen(state, {k: v.copy() for k, v in self.at.items()})

    def picture(self):
        picture = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
        picture[: round(400 * self.tool[2])] = 200
        return picture

    def camera(self):
        return mirrored_intrinsics(45.0, SIDE_PX), np.diag([1.0, -1.0, -1.0, 1.0])

    def close(self):
        pass


def done_by_expert(world, most=280):
    seen = world.begin(3)
    return libero_demos.expert_episode(world, 3, seen, most, lambda *_: None)


@pytest.mark.parametrize("thing", ["milk_1", "akita_black_bowl_1"])
def test_the_expert_puts_a_thing_in_or_on_another(thing):
    world = World(goal=Goal("on", thing, "plate_1"))
    assert done_by_expert(world)
    assert world.grasps == 1
    assert world.actions[0][6] == OPEN
    assert max(a[6] for a in world.actions) == CLOSE


def test_the_expert_tries_again_when_the_thing_slips():
    world = World()
    world.slippery = ("milk_1",)
    assert done_by_expert(world)
    assert world.grasps == 2


def test_an_episode_ends_at_the_benchmarks_limit():
    world = World()
    assert not done_by_expert(world, most=20)
    assert len(world.actions) == 20


def test_the_expert_turns_its_fingers_down():
    world = World()
    seen = world.begin(0)
    tilted = np.array(seen.state)
    tilted[3:6] = [np.pi - 0.2, 0, 0]  # turned too little about x
    action = Expert(GOAL, seen, np.random.default_rng(0)).act(
        dataclasses.replace(seen, state=tilted)
    )
    turned = matrix_from_rotvec(action[3:6] * 0.5) @ matrix_from_rotvec(tilted[3:6].astype(float))
    before = matrix_from_rotvec(tilted[3:6].astype(float))
    assert np.trace(DOWN.T @ turned) > np.trace(DOWN.T @ before)
    assert LIFTED < 8


def test_what_robosuite_tells_is_told_in_vla_evals_words():
    told = {
        "robot0_eef_pos": np.array([0.1, 0.2, 0.3]),
        "robot0_eef_quat": np.array([1.0, 0, 0, 0]),  # x first: half a turn about x
        "robot0_gripper_qpos": np.array([0.04, -0.04]),
        "milk_1_pos": np.array([0, 0, 0.05]),
        "milk_1_quat": np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)]),
        "milk_1_to_robot0_eef_pos": np.zeros(3),
    }
    seen = seen_of(told)
    assert np.abs(seen.state) == pytest.approx([0.1, 0.2, 0.3, np.pi, 0, 0, 0.04, 0.04], abs=1e-6)
    assert list(seen.positions) == ["milk_1"]


def test_goals():
    assert goal_of([["in", "milk_1", "basket_1_contain_region"]]) == GOAL
    assert goal_of([["on", "bowl_1", "plate_1"]]) == Goal("on", "bowl_1", "plate_1")
    with pytest.raises(ValueError, match="puts nothing in or on anything"):
        goal_of([["turnon", "stove_1"]])


def test_a_mirrored_camera_sees_what_is_at_its_right_on_the_left():
    K = mirrored_intrinsics(90.0, 256)
    u, v, _ = K @ [0.5, 0.25, 1.0]  # half a metre right, a quarter down, a metre away
    assert (u, v) == pytest.approx((127.5 - 64, 127.5 + 32))


def test_demonstrations_become_training_data_of_either_method(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(libero_demos, "World", World)
    told = libero_demos.record(tmp_path / "demos", "libero_object", [0, 4], 1)
    assert (told["kept"], told["tried"]) == (2, 2)
    made = str(tmp_path / "data")
    command = [str(tmp_path / "demos"), "--map", str(tmp_path / "demos/map.yaml"), "--out", made]
    options = ["--label", "commanded", "--image-size", "32", "--workers", "1"]
    assert lerobot_import.main([*command, *options]) == 0, capsys.readouterr().err
    assert "dropped: nothing" in capsys.readouterr().out
    source = LerobotSource(tmp_path / "demos")
    dataset = open_dataset(tmp_path / "data", 32)
    contract = dataset.contract
    assert (contract.robot_model, contract.rate_hz) == ("libero_panda", 20.0)
    assert {e.task for e in dataset.episodes} == {"pick the milk 0", "pick the milk 4"}
    assert all(e.kind == "demo" and e.success for e in dataset.episodes)
    chunks = Chunks(dataset, dataset.episodes, horizon=4)
    found = chunks.batch(np.array([0]))
    asked = source.table(source.episodes[0], ["action"]).column("action")[0].as_py()
    # What is asked for is metres from where the tool is measured: the pose that an APT chunk holds.
    moved = found.T_base_future[0, 0, :3, 3] - found.T_base_tool[0, :3, 3]
    assert moved == pytest.approx(asked[:3], abs=1e-6)
    assert np.abs(moved).max() == pytest.approx(0.05)  # the controller's most
    assert found.openings[0, 0] == 1.0
    assert found.T_base_camera[0, 0] == pytest.approx(np.diag([1.0, -1.0, -1.0, 1.0]))
    # Focal length in halves of the picture, mirrored: 1 / tan(22.5 degrees).
    assert found.intrinsics[0, 0, :2] == pytest.approx([-2.41421, 2.41421], abs=1e-4)
    assert read_eyes(tmp_path / "demos/cameras.json")["agentview"].size == (256, 256)


def test_failures_are_no_demonstrations(tmp_path, monkeypatch):
    monkeypatch.setattr(libero_demos, "World", World)
    monkeypatch.setitem(libero_demos.BASE_SUITES, "libero_object", 20)
    told = libero_demos.record(tmp_path / "demos", "libero_object", [0], 2)
    assert (told["kept"], told["tried"], told["frames"]) == (0, 5, 0)
    assert LerobotSource(tmp_path / "demos").episodes == []


class Follower:
    """A policy that is told nothing but what a server is: it goes down, then closes."""

    run, num_past, goes_on, cameras = {"stage": 2}, 0, False, ("agentview",)
    answer = None

    def __init__(self):
        state = dataclasses.replace(tap_contract().state, low=(-100.0,) * 7, high=(100.0,) * 7)
        libero_arm = {"robot_model": "libero_panda", "rate_hz": 20.0, "cameras": self.cameras}
        self.contract = dataclasses.replace(tap_contract(image_size=32), state=state, **libero_arm)
        self.seen = []

    def warm_up(self):
        pass

    def act(self, observation, decided=None):
        if self.answer is not None:
            raise self.answer
        self.seen.append(observation)
        actions = np.float32([[0, 0, -0.01, 0, 0, 0, 1], [0, 0, -0.01, 0, 0, 0, 0]])
        return Chunk(actions, 0.05, actions[:, 6])


def test_a_served_policy_is_told_the_perturbed_sentence_and_shown_only_what_it_asks_for():
    runner = Follower()
    manner = manner_of(runner.contract, runner.cameras, {}, {}, steps=2)
    server = VlaEvalServer(runner, "aa", Address("127.0.0.1", 0), manner)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    world, shown = World(), []
    picture = world.picture
    world.picture = lambda: shown.append(1) or picture()
    try:
        with connected(str(server.address)) as harness:
            assert libero_run.policy_episode(world, harness, 0, 6) == Outcome(False, 6)
            with pytest.raises(RefusedError, match="no image 'agentview'"):
                harness.act({"images": {}, "task_description": "x"})
            done = list(world.actions)
            runner.answer = ContractError("too far")
            assert libero_run.policy_episode(world, harness, 0, 6) == Outcome(False, 0, "too far")
    finally:
        server.close()
        thread.join()
    assert len(shown) == 4  # one for two actions, and one that nothing came of
    assert len(runner.seen) == 3
    assert {o.task for o in runner.seen} == {"pick the milk 0"}
    assert np.stack(done)[:, 2] == pytest.approx([-0.2] * 6)
    assert [a[6] for a in done] == [OPEN, CLOSE] * 3
    assert IDLE[6] == OPEN


def test_scores_come_with_wilsons_interval():
    rows = [
        {"suite": suite, "success": n < 5, "refused": "too far" if n == 9 else ""}
        for suite, count in (("a", 10), ("b", 1))
        for n in range(count)
    ]
    found = scores.summary(rows)
    assert (found["a"]["successes"], found["a"]["trials"]) == (5, 10)
    assert found["a"]["interval_95"] == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert "| a | 5 | 10 | 50 % (24 to 76) | 1 |" in scores.table(found)


def test_every_suite_is_scored_unless_the_command_says_otherwise(monkeypatch, tmp_path, capsys):
    jobs = []

    def told_lines(python, environment, module, job):
        assert (python, module) == ("python", "bench.public.libero_run")
        jobs.append(job)
        for name in job["perturbations"]:
            yield {
                **{"suite": job["base"] + name, "task": 0, "layout": 0, "success": not name},
                **{"steps": 9, "seconds": 1.0, "instruction": "x", "refused": ""},
            }

    monkeypatch.setattr(libero, "told_lines", told_lines)
    monkeypatch.setattr(libero, "libero", lambda: ("python", {}))
    out = tmp_path / "scores.json"
    assert libero.main(["score", "--url", "ws://x", "--out", str(out)]) == 0
    assert jobs[0]["perturbations"] == ["", "_swap", "_task", "_lan", "_object"]
    assert json.loads(out.read_text())["suites"]["libero_object_lan"]["successes"] == 0
    assert libero.main(["expert", "--tasks", "3"]) == 0
    assert (jobs[1]["perturbations"], jobs[1]["tasks"], jobs[1]["url"]) == ([""], [3], "")
    assert libero.main(["score"]) == 1
    assert libero.main(["demos", "--out", str(tmp_path)]) == 1
    assert "--out must name a new folder" in capsys.readouterr().err
