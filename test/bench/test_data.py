"""The recordings and environments that `bench.data` measures with; nothing is timed here."""

import os
import sys
import threading

import numpy as np
import pytest

from bench._data_bags import jpegs, write_bag
from bench._data_commands import Command, matching_crf, quality
from bench._data_commands import run as run_commands
from bench._data_peers import without_type_parameters
from training.convert import convert
from training.datasets.frames import MaxAge
from training.recordings.bags import Bag
from vla_ros.core.contract import tap_contract


def test_a_recording_has_its_rates_and_moves(tmp_path):
    write_bag(tmp_path / "play-0", 0.5)
    with Bag(tmp_path / "play-0") as bag:
        stamps = bag.image_index("wrist").stamps_ns
        joints = [stamp for stamp, *_ in bag.joint_states()]
        first, *_, last = (picture for _, picture in bag.images("front"))
    assert len(stamps) == 15
    assert np.all(np.abs(np.diff(stamps) - 1e9 / 30) < 2)
    assert len(joints) == 50
    assert first.shape == (480, 640, 3)
    assert np.abs(first.astype(int) - last).mean() > 1


def test_pictures_are_the_same_every_time_and_differ_between_cameras():
    assert next(jpegs(0, 1)) == next(jpegs(0, 1)) != next(jpegs(1, 1))


def test_quality_is_measured_against_the_source(tmp_path):
    write_bag(tmp_path / "play-0", 0.6)
    contract = tap_contract(("front", "wrist"), 224, 30.0)
    convert([tmp_path / "play-0"], tmp_path / "data", contract, MaxAge())
    # JPEG of quality 95 of a noisy picture; another frame's picture would give 15 to 25 dB.
    found = quality(tmp_path / "data", [tmp_path / "play-0"])
    assert 33 < found.rgb_db < found.luma_db < 60


@pytest.mark.parametrize(("finest_db", "expected"), [(60, 20), (10, 1), (200, 50)])
def test_the_coarsest_quality_that_is_alike_is_found(finest_db, expected):
    # 1 dB a step: 40 dB less the half that is allowed.
    crf, quality = matching_crf(lambda crf: finest_db - crf, 40.0)
    assert (crf, quality) == (expected, finest_db - expected)


def test_newer_type_syntax_becomes_older():
    newer = (
        "import os\n\ntype Name = str | int\n\n\nclass A[T]:\n    pass\n\n\n"
        "class B[T, U](A):\n    pass\n\n\ndef f[V: int](x: V) -> V:\n    return x\n"
    )
    older = without_type_parameters(newer)
    found: dict = {}
    exec(compile(older, "older", "exec"), found)  # on 3.12 both would do
    assert "[T]:" not in older.replace("Generic[T]:", "")
    assert found["Name"] == str | int
    assert found["f"](3) == 3
    assert found["B"].__mro__[1] is found["A"]


@pytest.mark.parametrize("text", ["x = a[1]\n", "def f(x):\n    return x[0]\n"])
def test_older_source_stays_as_it_is(text):
    assert without_type_parameters(text) == text


def test_peak_memory_is_also_that_of_what_a_thread_started():
    child = "import time; held = b'x' * 100_000_000; time.sleep(0.5)"
    start = f"subprocess.run([sys.executable, '-c', {child!r}])"
    parent = (
        "import subprocess, sys, threading\n"
        f"thread = threading.Thread(target=lambda: {start})\n"
        "thread.start()\nthread.join()"
    )
    found = run_commands([Command([sys.executable, "-c", parent])])
    assert 100 < found.peak_mb < 150


def test_a_contender_that_fails_ends_those_beside_it(tmp_path):
    mine = tmp_path / "pid"
    mine.touch()
    slow = f"import os, time; open({str(mine)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    fails = f"import os, sys\nwhile not os.path.getsize({str(mine)!r}): pass\nsys.exit('no more')"
    commands = [Command([sys.executable, "-c", program]) for program in (fails, slow)]
    with pytest.raises(SystemExit, match="no more"):
        run_commands(commands)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mine.read_text()), 0)


def test_a_contender_that_fails_is_watched_no_more():
    before = threading.active_count()
    with pytest.raises(SystemExit, match="failed:\nno more"):
        run_commands([Command([sys.executable, "-c", "import sys; sys.exit('no more')"])])
    assert threading.active_count() == before
