"""Roll-outs of a checkpoint: the same whatever was done before, resumed, counted, filmed."""

import json

import cv2
import numpy as np
import pytest
import tiny_policies

from training.evidence import rollouts
from training.evidence.cells import Ask, cells_named
from training.evidence.rollouts_films import FRAMES, strip, write_strip
from training.evidence.rollouts_log import TrialLog
from training.evidence.rollouts_trial import Progress, Settings, Stage, roll_out
from vla_ros.core.errors import EpisodeError
from vla_ros.policy.checkpoint import load_checkpoint, save_checkpoint
from vla_ros.sim.tasks import TaskState

TIMED = ("inference_ms",)


class ToDo:
    """A task that is as done as the test says."""

    def __init__(self, name):
        self.instruction, self.state = name, TaskState(False, False)

    def evaluate(self, world):
        return self.state


def progress_of(*sentences):
    tasks = ToDo("a"), ToDo("b")
    return tasks, Progress(Ask(tasks, sentences), None)


def test_of_a_chain_the_second_task_counts_after_the_first():
    (first, second), progress = progress_of("a, then b")
    second.state = TaskState(True, True)
    progress.look()
    assert progress.success == [False, False]
    first.state = TaskState(True, True)
    progress.look()
    assert progress.success == [True, False]
    # Done too early, it is done once its turn has come.
    progress.look()
    assert progress.success == [True, True]
    assert progress.sentence == "a, then b"
    # What is done is not looked at again.
    first.state = second.state = TaskState(False, False)
    progress.look()
    assert progress.done == 2


def test_who_is_coached_is_told_the_next_task_when_one_is_done():
    (first, _), progress = progress_of("do a", "do b")
    progress.look()
    assert progress.sentence == "do a"
    first.state = TaskState(True, True)
    progress.look()
    assert progress.sentence == "do b"


def test_partial_success_lasts():
    (first, _), progress = progress_of("do a", "do b")
    progress.look()
    first.state = TaskState(True, False)
    progress.look()
    first.state = TaskState(False, False)
    progress.look()
    assert (progress.partial, progress.done) == ([True, False], 0)


def test_a_log_goes_on_behind_its_last_whole_line(tmp_path):
    path, facts = tmp_path / "deep" / "a.jsonl", {"seed": 1}
    log = TrialLog(path, facts)
    log.add({"cell": "x", "trial": 0})
    log.add({"cell": "x", "trial": 1})
    path.write_bytes(path.read_bytes()[:-5])
    again = TrialLog(path, facts)
    assert set(again.records) == {("x", 0)}
    again.add({"cell": "x", "trial": 2})
    assert set(TrialLog(path, facts).records) == {("x", 0), ("x", 2)}


def test_a_log_of_something_else_is_kept_unless_it_shall_not_be(tmp_path):
    path = tmp_path / "a.jsonl"
    TrialLog(path, {"seed": 1}).add({"cell": "x", "trial": 0})
    with pytest.raises(EpisodeError, match="seed differ"):
        TrialLog(path, {"seed": 2})
    assert TrialLog(path, {"seed": 1}).records
    assert not TrialLog(path, {"seed": 2}, overwrite=True).records
    assert not TrialLog(path, {"seed": 2}).records


def test_a_film_strip_has_the_first_and_the_last_picture(tmp_path):
    frames = [
        cv2.imencode(".jpg", np.full((16, 16, 3), 10 * k, np.uint8))[1].tobytes() for k in range(20)
    ]
    film = strip(frames, "words")
    assert film.shape[1] == FRAMES * 16 + (FRAMES - 1) * 2
    assert abs(int(film[-5, 3, 0])) <= 2
    assert abs(int(film[-5, -3, 0]) - 190) <= 2
    record = {"cell": "a/b c", "trial": 7, "success": False, "partial": True, "duration_s": 2.0}
    record |= {"outcome": "TIME_LIMIT", "sentences": ["go"]}
    path = write_strip(tmp_path, record, frames[:1])
    assert path.name == "a-b_c-007-partial.png"
    with pytest.raises(EpisodeError, match="without pictures"):
        strip([], "")


def untimed(result):
    return [{k: v for k, v in trial.items() if k not in TIMED} for trial in result["trials"]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ckpt") / "tap2"
    save_checkpoint(tiny_policies.tap(), folder)
    return folder


def roll(checkpoint, path, *more):
    common = ["--trials", "2", "--time-limit", "0.8", "--json", str(path)]
    return rollouts.main([str(checkpoint), *common, *more])


def test_a_run_that_was_stopped_ends_as_if_it_was_not(checkpoint, tmp_path, capsys):
    cells = ["--cells", "carrot/standard", "pumpkin/background", "--width", "48", "--height", "32"]
    whole, cut = tmp_path / "whole.json", tmp_path / "cut.json"
    assert roll(checkpoint, whole, *cells, "--film", str(tmp_path / "films")) == 0
    assert "carrot/standard" in capsys.readouterr().out
    result = json.loads(whole.read_text())
    records = result["trials"]
    assert len(records) == 4
    assert (result["settings"]["width"], result["settings"]["height"]) == (48, 32)
    assert [r["trial"] for r in records] == [0, 1, 0, 1]
    # Untrained weights do something, and what they do depends on what is seen.
    assert all(r["steps"] >= 3 for r in records)
    assert len({tuple(r["tool_m"]) for r in records}) == 4
    assert len(list((tmp_path / "films").glob("*.png"))) == 4
    assert result["cells"][0]["success_interval_95"] == [0.0, pytest.approx(0.6576, abs=1e-3)]
    # The third trial alone, in a process that did no other before it in that order.
    lines = (tmp_path / "whole.trials.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.trials.jsonl").write_bytes(b"".join([lines[0], lines[4], lines[2]]))
    assert roll(checkpoint, cut, *cells) == 0
    assert untimed(json.loads(cut.read_text())) == untimed(result)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--cells", "nowhere"], "there is no cell 'nowhere'"),
        (["--task", "sing"], "cannot judge 'sing'"),
        (["--task", "push the pumpkin to the left", "--latency", "soon"], "--latency must be"),
        (["--task", "push the pumpkin to the left", "--workers", "0"], "must be 1 or more"),
    ],
)
def test_what_cannot_be_rolled_out_is_said_in_one_sentence(
    checkpoint, tmp_path, capsys, more, said
):
    assert roll(checkpoint, tmp_path / "a.json", *more) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_checkpoint_that_follows_no_instruction_is_refused(tmp_path, capsys):
    save_checkpoint(tiny_policies.tap(stage=1), tmp_path / "s1")
    assert roll(tmp_path / "s1", tmp_path / "a.json", "--cells", "tap") == 1
    assert "stage 1" in capsys.readouterr().err


def test_a_scene_of_nine_things_is_laid_out_as_it_is_told(checkpoint):
    """Of these nine no other layout is found, and none is looked for."""
    (cell,) = cells_named(["carrot/distractors"])
    settings = Settings(seed=1, time_limit_s=0.4, width=48, height=32)
    assert len(cell.scene(7, 1).layout) == 9
    record, _ = roll_out(
        load_checkpoint(checkpoint), cell, 7, settings, Stage(("front",), settings)
    )
    assert record["outcome"] == "TIME_LIMIT"
