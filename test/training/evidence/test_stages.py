"""Stages are done once, go on where they were stopped, and repeat what rests on a change."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.evidence import stages
from training.evidence.stages import ExperimentError, Ledger, Stage
from training.provenance import ROOT


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Return the name of a module that appends its arguments to its last one, a file."""
    (tmp_path / "scribble.py").write_text(
        "import sys, pathlib\n"
        "if 'fail' in sys.argv: print('it broke', file=sys.stderr); sys.exit(3)\n"
        "if 'stop' in sys.argv: sys.exit(130)\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
        "out.mkdir(exist_ok=True)\n"
        "(out / 'run.json').open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "scribble"


def chain(tmp_path, script, *more, kind="stage1_tap", **options):
    """Return a ledger of two stages, the second of which needs the first."""
    one, two = tmp_path / "x" / "one", tmp_path / "x" / "two"
    one.parent.mkdir(exist_ok=True)
    first = Stage("a/one", kind, (script, "--out", str(one), *more), 2, one, **options)
    second = Stage("a/two", kind, (script, "--out", str(two)), 4, two, ("a/one",))
    return Ledger(tmp_path / "x" / "stages", [first, second])


def said(stage):
    return (stage.out / "run.json").read_text().splitlines()


def test_what_is_done_stays_done_until_its_command_changes(tmp_path, script):
    ledger = chain(tmp_path, script)
    for stage in ledger.stages:
        assert not ledger.is_done(stage)
        ledger.run(stage)
        assert ledger.is_done(stage)
    assert all(ledger.is_done(stage) for stage in chain(tmp_path, script).stages)
    assert all(ledger.is_done(stage) for stage in chain(tmp_path, script, free=("-w",)).stages)
    changed = chain(tmp_path, script, "--steps", "3")
    # The second one rests on the first.
    assert [changed.is_done(stage) for stage in changed.stages] == [False, False]


def test_a_changed_input_repeats_what_it_was_for(tmp_path, script):
    given = tmp_path / "given"
    given.write_text("one")
    ledger = chain(tmp_path, script, files=(given,))
    ledger.run(ledger.stages[0])
    assert chain(tmp_path, script, files=(given,)).is_done(ledger.stages[0])
    given.write_text("two")
    again = chain(tmp_path, script, files=(given,))
    assert not again.is_done(again.stages[0])
    with pytest.raises(ExperimentError, match="does not exist"):
        chain(tmp_path, script, files=(tmp_path / "gone",))


def test_a_moved_folder_is_as_done_as_before(tmp_path, script):
    ledger = chain(tmp_path, script)
    ledger.run(ledger.stages[0])
    (tmp_path / "x").rename(tmp_path / "y")
    moved = Stage("a/one", "stage1_tap", (script, "--out", f"{tmp_path}/y/one"), 2, tmp_path / "y")
    assert Ledger(tmp_path / "y" / "stages", [moved]).is_done(moved)


def test_what_was_deleted_is_done_again(tmp_path, script):
    ledger = chain(tmp_path, script)
    ledger.run(ledger.stages[0])
    (ledger.stages[0].out / "run.json").unlink()
    ledger.stages[0].out.rmdir()
    assert not ledger.is_done(ledger.stages[0])


def test_a_training_goes_on_where_it_was_stopped_and_begins_anew_where_it_is_another(
    tmp_path, script
):
    ledger = chain(tmp_path, script)
    first = ledger.stages[0]
    assert ledger.command(first)[:2] == [sys.executable, "-m"]
    assert "--resume" not in ledger.command(first)
    ledger.run(first)
    assert ledger.command(first)[-1] == "--resume"
    changed = chain(tmp_path, script, "--steps", "3")
    assert changed.command(changed.stages[0])[-1] == "--overwrite"
    changed.run(changed.stages[0])
    assert said(first)[-1].endswith("--steps 3 --overwrite")


def test_roll_outs_of_something_else_are_replaced(tmp_path, script):
    ledger = chain(tmp_path, script, kind="rollouts_tap")
    assert ledger.command(ledger.stages[0])[-1] == "--overwrite"
    ledger.run(ledger.stages[0])
    assert "--overwrite" not in ledger.command(ledger.stages[0])


def test_a_stage_that_fails_says_why_and_is_not_done(tmp_path, script):
    ledger = chain(tmp_path, script, "fail")
    with pytest.raises(ExperimentError, match="code 3(.|\n)*it broke"):
        ledger.run(ledger.stages[0])
    assert not ledger.is_done(ledger.stages[0])


def test_a_stage_that_was_stopped_is_no_failure(tmp_path, script):
    ledger = chain(tmp_path, script, "stop")
    with pytest.raises(KeyboardInterrupt):
        ledger.run(ledger.stages[0])
    assert not ledger.is_done(ledger.stages[0])


def test_the_plan_reckons_with_what_was_measured(tmp_path, script):
    ledger = chain(tmp_path, script)
    assert ledger.seconds({})["stage1_tap"] == stages.KINDS["stage1_tap"][1]
    ledger.run(ledger.stages[0])
    took_s = ledger.marker(ledger.stages[0])["wall_s"]
    assert ledger.seconds({})["stage1_tap"] == pytest.approx(took_s / 2)
    assert ledger.seconds({"stage1_tap": 7.0})["stage1_tap"] == 7.0


def test_a_stage_comes_after_what_it_needs(tmp_path):
    late = Stage("b", "play", ("x",), 1, Path("x"), ("a",))
    with pytest.raises(ExperimentError, match="before a"):
        Ledger(tmp_path, [late])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_stage_that_runs(tmp_path, number):
    """The script notes that it was stopped, and takes its time for it."""
    (tmp_path / "slow.py").write_text(
        "import pathlib, signal, sys, time\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "def stop(number, frame):\n"
        "    (here / 'stopped').write_text(str(number)); sys.exit(128 + number)\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, stop)\n"
        "(here / 'ready').touch()\n"
        "time.sleep(60)\n"
    )
    code = (
        "import signal, sys; from pathlib import Path\n"
        "from training.evidence import stages\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "stages._ECHO_S = 0.1\n"
        f"here = Path({str(tmp_path)!r})\n"
        "stage = stages.Stage('a', 'play', ('slow', str(here)), 1, here)\n"
        "stages.Ledger(here / 'stages', [stage]).run(stage)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert (tmp_path / "stopped").read_text() == str(int(number))
