"""What run.json tells of recordings, on datasets of a few numbers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from training.learning.dataset import Episode
from training.learning.splits import Split, split_episodes
from training.learning.trained_on import TrainedOn, note, split_stage
from vla_ros.core.errors import CheckpointError, DatasetError

SECOND_NS = 1_000_000_000


def episode(first, end, recording, kind="demo", start_s=100):
    start_ns = start_s * SECOND_NS
    return Episode(
        first, end, f"bag {recording}", kind, "", True, recording=recording, start_ns=start_ns
    )


def dataset_of(episodes, rate_hz=5.0, name="demos"):
    contract = SimpleNamespace(rate_hz=rate_hz)
    return SimpleNamespace(
        path=Path(name), episodes=episodes, contract=contract, sha256=name, label="reached"
    )


def run_of(init=None, **trained):
    """Return run.json of a run that learned from recordings until a time, None for all."""
    return {"data": [{"trained": trained}], "init": init}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_note_tells_again_what_was_trained_on(count):
    data = dataset_of([episode(20 * i, 20 * i + 20, f"r{i}") for i in range(count)])
    split = split_episodes(data, data.episodes, 0.2)
    row = note(data, split)
    assert (row["name"], row["sha256"], row["label"]) == ("demos", "demos", "reached")
    assert TrainedOn.by({"data": [row]}).parts(data, data.episodes) == split[:2]


def test_a_cut_recording_is_known_at_another_rate():
    # 20 frames at 5 Hz, cut 3.2 s after the start; at 10 Hz, from 1 s later on, that is 22 frames.
    data = dataset_of([episode(0, 20, "x")])
    seen = TrainedOn.by({"data": [note(data, split_episodes(data, data.episodes, 0.2))]})
    faster = dataset_of([episode(7, 47, "x", start_s=101)], rate_hz=10.0)
    (trained,), (new,) = seen.parts(faster, faster.episodes)
    assert (trained.first, trained.end, new.first, new.end) == (7, 29, 29, 47)
    assert new.start_ns == 103_200_000_000


def test_earlier_runs_count_and_the_most_that_one_of_them_saw():
    run = run_of(run_of(run_of(a=None, b=5), b=7, c=None), a=3, b=6, d=4)
    assert TrainedOn.by(run).until_ns == {"a": None, "b": 7, "c": None, "d": 4}
    assert TrainedOn.by(run, with_earlier=False).until_ns == {"a": 3, "b": 6, "d": 4}


@pytest.mark.parametrize(
    "run", [{}, {"data": [{"sha256": "x"}]}, run_of({"data": [{}]}), {"data": [{"trained": []}]}]
)
def test_a_run_that_does_not_tell_is_refused(run):
    with pytest.raises(CheckpointError, match="does not tell which recordings"):
        TrainedOn.by(run)


def test_what_an_earlier_stage_was_trained_on_is_not_held_out():
    data = dataset_of([episode(5 * i, 5 * i + 5, f"r{i}") for i in range(40)])
    ((trained, held_out, left_out),) = split_stage([data], [data.episodes], 0.2)
    assert left_out == 0
    init = run_of(**{held_out[0].recording: None, trained[0].recording: None})
    ((again, fewer, left_out),) = split_stage([data], [data.episodes], 0.2, init)
    assert (again, fewer, left_out) == (trained, held_out[1:], 1)
    assert note(data, Split(again, fewer, left_out))["left_out"] == 1
    init = run_of(**{e.recording: None for e in held_out})
    with pytest.raises(DatasetError, match="earlier stage was trained on all"):
        split_stage([data], [data.episodes], 0.2, init)


def test_one_of_two_datasets_may_hold_nothing_out():
    many = dataset_of([episode(5 * i, 5 * i + 5, f"r{i}") for i in range(9)])
    short = dataset_of([episode(0, 3, "x")], name="short")
    splits = split_stage([many, short], [many.episodes, short.episodes], 0.2)
    assert splits[1] == Split(short.episodes, [])
    with pytest.raises(DatasetError, match="nothing of short can be held out"):
        split_stage([short], [short.episodes], 0.2)


def test_a_recording_in_two_datasets_is_refused():
    one = dataset_of([episode(0, 5, "x"), episode(5, 10, "y")])
    other = dataset_of([episode(0, 5, "y"), episode(5, 10, "z")], name="all")
    with pytest.raises(DatasetError, match=r"1 episodes of demos, bag bag y the first, are in"):
        split_stage([one, other], [one.episodes, other.episodes], 0.2)
    # Taken once, it may be there twice.
    split_stage([one, other], [one.episodes[:1], other.episodes], 0.2)
