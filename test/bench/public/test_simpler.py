"""SIMPLER's way from a served policy to a score, with tasks that end as the test says.

ManiSkill itself is not here: `python -m bench.public.simpler` runs it.
"""

import json
import threading

import numpy as np
import pytest

from bench.public import simpler, simpler_run
from bench.public.simpler_peer_scene import CLOSE, OPEN, command_of
from bench.public.simpler_run import Outcome
from bench.public.vla_eval_client import connected
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import ContractError
from vla_ros.core.observation import Chunk
from vla_ros.core.rotations import matrix_from_rotvec, matrix_from_rpy
from vla_ros.policy.remote_access import Address
from vla_ros.policy.vla_eval_server import VlaEvalServer
from vla_ros.policy.vla_eval_session import manner_of

RIGHT_RAD = np.pi / 2
THIRD_RAD = 2 * np.pi / 3


@pytest.mark.parametrize(
    ("rotation", "angles"),
    [
        ([0.3, 0, 0], [0.3, 0, 0]),
        ([0, 0, -0.2], [0, 0, -0.2]),
        # A right angle about x after one about z: a third of a turn about (1, -1, 1).
        (THIRD_RAD / np.sqrt(3) * np.array([1, -1, 1]), [RIGHT_RAD, 0, RIGHT_RAD]),
        # About x after about y, where the third angle could be any: x to y, y to z, z to x.
        (THIRD_RAD / np.sqrt(3) * np.ones(3), [RIGHT_RAD, RIGHT_RAD, 0]),
    ],
)
def test_a_rotation_vector_becomes_the_controllers_angles(rotation, angles):
    command = command_of(np.array([0.01, -0.02, 0.03, *rotation, 1.0]))
    assert command == pytest.approx([0.01, -0.02, 0.03, *angles, OPEN], abs=1e-6)


def test_angles_turn_as_the_rotation_vector_does():
    rotation = np.array([0.5, -0.4, 0.7])
    a, b, c = command_of(np.array([0, 0, 0, *rotation, 0]))[3:6].astype(float)
    turned = matrix_from_rpy(-a, -b, -c).T  # Rx(a) Ry(b) Rz(c)
    assert turned == pytest.approx(matrix_from_rotvec(rotation), abs=1e-6)
    assert np.abs(np.array([a, b, c]) - rotation).max() > 0.1  # so it makes a difference


def test_a_gripper_opens_above_a_half():
    fingers = [command_of(np.array([0, 0, 0, 0, 0, 0, asked]))[6] for asked in (0, 0.5, 0.51, 1)]
    assert fingers == [CLOSE, CLOSE, OPEN, OPEN]


class Task:
    """Is done at the steps that are said, of whatever start."""

    instruction = "put carrot on plate"

    def __init__(self, done_at=()):
        self.done_at, self.starts, self.actions, self.shown = done_at, [], [], 0

    def begin(self, start):
        self.starts.append(start)
        self.actions.clear()

    def step(self, action):
        self.actions.append(np.array(action))
        return len(self.actions) in self.done_at

    def picture(self):
        self.shown += 1
        return np.full((48, 64, 3), 90, np.uint8)

    def close(self):
        self.starts.append("closed")


class Policy:
    """Goes down a centimetre a step with open fingers."""

    run, num_past, goes_on, cameras = {"stage": 2}, 0, False, ("front",)
    answer = None

    def __init__(self):
        self.contract, self.seen = tap_contract(image_size=32), []

    def warm_up(self):
        pass

    def act(self, observation, decided=None):
        if self.answer is not None:
            raise self.answer
        self.seen.append(observation)
        actions = np.float32([[0, 0, -0.01, 0, 0, 0.1, 1]])
        return Chunk(actions, 0.2, actions[:, 6])


@pytest.fixture
def harness():
    policy = Policy()
    manner = manner_of(policy.contract, policy.cameras, {}, {})
    server = VlaEvalServer(policy, "aa", Address("127.0.0.1", 0), manner)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with connected(str(server.address)) as harness:
            harness.policy = policy
            yield harness
    finally:
        server.close()
        thread.join()


def test_a_served_policy_is_shown_the_picture_and_told_the_sentence(harness):
    task = Task(done_at=(4,))
    assert simpler_run.policy_episode(task, harness, 7, 4) == Outcome(True, True, 4)
    assert (task.starts, task.shown) == ([7], 4)
    assert np.stack(task.actions) == pytest.approx(np.array([[0, 0, -0.01, 0, 0, 0.1, 1]] * 4))
    assert {o.task for o in harness.policy.seen} == {"put carrot on plate"}
    assert harness.policy.seen[0].views["front"].picture.shape == (32, 32, 3)


def test_what_falls_down_again_is_no_success(harness):
    assert simpler_run.policy_episode(Task((2,)), harness, 0, 4) == Outcome(False, True, 4)
    harness.policy.answer = ContractError("too far")
    found = simpler_run.policy_episode(Task((1,)), harness, 0, 4)
    assert found == Outcome(False, False, 0, "too far")


def test_an_episode_has_as_many_steps_as_the_task_says(harness, capsys):
    tasks = {"carrot": Task((60,)), "eggplant": Task((119,))}
    job = {"tasks": list(tasks), "episodes": 2, "most": 0}
    simpler_run.run(job, harness, tasks.__getitem__)
    # The server of this test prints, too.
    lines = capsys.readouterr().out.splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    assert [(row["suite"], row["start"], row["steps"], row["success"]) for row in rows] == [
        ("PutCarrotOnPlateInScene-v1", 0, 60, True),
        ("PutCarrotOnPlateInScene-v1", 1, 60, True),
        ("PutEggplantInBasketScene-v1", 0, 120, False),
        ("PutEggplantInBasketScene-v1", 1, 120, False),
    ]
    assert all(row["was_done"] for row in rows)
    assert all(task.starts == [0, 1, "closed"] for task in tasks.values())
    simpler_run.run({**job, "tasks": ["carrot"], "most": 3}, harness, tasks.__getitem__)
    assert '"steps": 3' in capsys.readouterr().out


@pytest.fixture
def assets(tmp_path, monkeypatch):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    for file in simpler.ASSETS.values():
        (tmp_path / "data" / file).parent.mkdir(parents=True)
        (tmp_path / "data" / file).touch()
    return tmp_path / "data"


def nothing(*_):
    raise AssertionError("neither environment nor server")


def test_without_the_scenes_a_score_is_skipped_in_a_sentence(assets, monkeypatch, capsys):
    monkeypatch.setattr(simpler, "simpler", nothing)
    monkeypatch.setattr(simpler, "served", nothing)
    (assets / "robots/widowx/wx250s.urdf").unlink()
    assert simpler.main(["score", "--checkpoint", "ckpt"]) == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert f"skipped, since {assets} (MS_ASSET_DIR/data) lacks robots/widowx/wx250s.urdf" in told
    assert "-m mani_skill.utils.download_asset -y widowx250s`" in told
    assert "bridge_v2_real2sim" not in told
    monkeypatch.delenv("MS_ASSET_DIR")
    monkeypatch.setenv("HOME", str(assets))
    assert simpler.main(["score", "--url", "ws://x"]) == 0
    told = capsys.readouterr().out
    assert f"{assets}/.maniskill/data" in told
    assert "-y bridge_v2_real2sim` and " in told


def test_a_command_that_cannot_be_done_says_why(assets, monkeypatch, capsys):
    monkeypatch.setattr(simpler, "simpler", nothing)
    assert simpler.main(["score"]) == 1
    assert "score needs --checkpoint or --url" in capsys.readouterr().err
    assert simpler.main(["score", "--url", "ws://x", "--episodes", "25"]) == 1
    assert "--episodes must be 1 to 24, the start states of carrot, got 25" in (
        capsys.readouterr().err
    )


def test_a_score_is_told_and_kept(assets, monkeypatch, tmp_path, capsys):
    jobs = []

    def told_lines(python, environment, module, job):
        assert (python, module) == ("python", "bench.public.simpler_run")
        jobs.append(job)
        for start in range(job["episodes"]):
            yield {
                **{"suite": "PutSpoonOnTableClothInScene-v1", "task": "spoon", "start": start},
                **{"success": start == 1, "was_done": True, "steps": 60, "seconds": 2.0},
                **{"instruction": "put the spoon on the towel", "refused": "" if start else "no"},
            }

    monkeypatch.setattr(simpler, "told_lines", told_lines)
    monkeypatch.setattr(simpler, "simpler", lambda: ("python", {}))
    out = tmp_path / "score.json"
    command = ["score", "--tasks", "spoon", "--episodes", "4", "--url", "ws://x"]
    assert simpler.main([*command, "--out", str(out)]) == 0
    assert jobs == [{"tasks": ["spoon"], "episodes": 4, "most": 0, "url": "ws://x"}]
    kept = json.loads(out.read_text())["suites"]["PutSpoonOnTableClothInScene-v1"]
    assert (kept["successes"], kept["trials"], kept["refused"]) == (1, 4, 1)
    told = capsys.readouterr().out
    assert "spoon, start 1: done after 60 steps, 2 s: put the spoon on the towel" in told
    assert "  no action: no" in told
    assert "| PutSpoonOnTableClothInScene-v1 | 1 | 4 | 25 % (5 to 70) | 1 |" in told
