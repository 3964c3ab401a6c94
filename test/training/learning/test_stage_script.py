"""How a stage's run begins in a folder that is taken, and what is said when it is stopped."""

import json
import signal
from argparse import Namespace
from pathlib import Path

import pytest

from training.learning import stage_script
from training.learning.stage_files import require_no_loss
from training.learning.stop import StoppedError
from vla_ros.core.errors import CheckpointError


def arguments(out, **more):
    return Namespace(**{"out": Path(out), "resume": False, "overwrite": False, **more})


def write_run(out, done, **facts):
    out.mkdir(exist_ok=True)
    run = {"method": "tap", "stage": 1, "config": {"steps": 10}, "steps_done": done, **facts}
    (out / "run.json").write_text(json.dumps(run))


def require(args):
    require_no_loss(args, method="tap", stage=1)


def test_an_unfinished_run_is_not_replaced_by_forgetting_resume(tmp_path):
    write_run(tmp_path, 4)
    with pytest.raises(CheckpointError, match=r"done 4 of 10 steps; go on with it by --resume, or"):
        require(arguments(tmp_path))
    for option in ("resume", "overwrite"):
        require(arguments(tmp_path, **{option: True}))


@pytest.mark.parametrize("other", [{"method": "apt"}, {"stage": 2}])
def test_a_run_of_another_kind_is_not_replaced_unasked(other, tmp_path):
    write_run(tmp_path, 10, **other)
    with pytest.raises(CheckpointError, match="another kind of run .* by --overwrite"):
        require(arguments(tmp_path))


def test_a_finished_run_and_a_damaged_one_are_not_replaced_unasked(tmp_path):
    require(arguments(tmp_path / "nothing"))
    write_run(tmp_path, 10)
    with pytest.raises(CheckpointError, match=r"a finished run of 10 steps; .* by --overwrite"):
        require(arguments(tmp_path))
    for option in ("resume", "overwrite"):
        require(arguments(tmp_path, **{option: True}))
    for text in ("{", "[]"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"run.json is missing or damaged .* --overwrite"):
            require(arguments(tmp_path))


def ended(capsys, args, stop, saves=False):
    """Return exit code and words of a run that saves or not, and is stopped."""

    def train(args, world):
        if saves:
            write_run(args.out, 5)
        raise stop

    return stage_script.main("training.x", args, train), capsys.readouterr().err


def test_a_stopped_run_says_what_is_saved_and_how_to_go_on(tmp_path, capsys):
    out = tmp_path / "run"
    stop = StoppedError(signal.SIGTERM, 5)
    code, said = ended(capsys, arguments(out), stop, saves=True)
    assert (code, said) == (
        143,
        f"{out}: stopped after step 5, which is saved: go on with --resume\n",
    )
    code, said = ended(capsys, arguments(tmp_path / "no"), KeyboardInterrupt())
    assert (code, said) == (130, f"{tmp_path / 'no'}: stopped before anything was saved\n")


def test_an_older_run_in_the_folder_is_not_taken_for_the_one_that_was_stopped(tmp_path, capsys):
    write_run(tmp_path, 10)
    _, said = ended(capsys, arguments(tmp_path), KeyboardInterrupt())
    assert said == f"{tmp_path}: stopped before anything was saved; {tmp_path} is as it was\n"
    _, said = ended(capsys, arguments(tmp_path, resume=True), KeyboardInterrupt())
    assert said.endswith("is as it was: go on with --resume\n")
    (tmp_path / "run.json").unlink()
    _, said = ended(capsys, arguments(tmp_path), KeyboardInterrupt(), saves=True)
    assert said.endswith("stopped at once: go on with --resume, from the last checkpoint\n")
