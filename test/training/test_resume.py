"""A conversion that is cut off goes on where it was: the result has the bytes of one in a go."""

import hashlib
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import time
from types import SimpleNamespace

import pytest

from training import provenance
from training.convert import convert, main
from training.datasets import workers
from training.datasets.frames import MaxAge
from training.recordings.bags import find_bags
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import BagError, DatasetError

CONTRACT = tap_contract(image_size=16)


def tree(folder):
    """Return {name: hash} of the dataset's files and of its shards."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture(autouse=True)
def one_code(monkeypatch):
    """Let nobody who commits meanwhile make a difference."""
    git = SimpleNamespace(run=lambda *_, **__: SimpleNamespace(stdout="0123456789ab\n"))
    git.TimeoutExpired = TimeoutError
    monkeypatch.setattr(provenance, "subprocess", git)


@pytest.fixture
def bags(bag_writer):
    """Return the folder of four bags, one of which has no command."""
    for index in range(3):
        bag_writer.moving_episode(f"play-{index}", 6, seed=index)
    source = bag_writer.folder / "play-2"
    shutil.copytree(source, bag_writer.folder / "play-3")
    (bag_writer.folder / "play-3/play-2.mcap").write_bytes(b"no bag at all")
    return bag_writer.folder


def killed_at(fork, write, job):
    """Run the job and kill it at its `write`-th write to disk; tell whether it came that far."""
    real, count = os.fsync, 0

    def fsync(descriptor):
        nonlocal count
        count += 1
        if count == write:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    def run():
        os.fsync = fsync
        job()

    code, said = fork(run).end()
    assert code in (0, -signal.SIGKILL), said
    return code != 0


def test_killed_at_any_write_it_goes_on_to_the_same_bytes(bags, tmp_path, fork):
    paths = find_bags([bags])[2:]
    convert(paths, tmp_path / "whole", CONTRACT, MaxAge())
    expected = tree(tmp_path / "whole")
    write = 1
    while killed_at(fork, write, lambda: convert(paths, tmp_path / "cut", CONTRACT, MaxAge())):
        convert(paths, tmp_path / "cut", CONTRACT, MaxAge())
        assert tree(tmp_path / "cut") == expected, f"killed at write {write}"
        shutil.rmtree(tmp_path / "cut")
        write += 2
    assert write > 10


def test_killed_again_and_again_at_random_moments_it_goes_on_to_the_same_bytes(
    bags, tmp_path, fork
):
    paths = find_bags([bags])
    start_s = time.monotonic()
    convert(paths, tmp_path / "whole", CONTRACT, MaxAge())
    whole_s = time.monotonic() - start_s
    rng = random.Random(4)
    for _ in range(4):
        process = fork(lambda: convert(paths, tmp_path / "cut", CONTRACT, MaxAge()) and None)
        time.sleep(rng.uniform(0.05, 0.7) * whole_s)
        os.kill(process.pid, signal.SIGKILL)
        assert process.end()[0] in (0, -signal.SIGKILL)
    convert(paths, tmp_path / "cut", CONTRACT, MaxAge())
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_bags_added_later_give_the_bytes_of_all_at_once(bags, tmp_path):
    paths = find_bags([bags])
    convert(paths, tmp_path / "once", CONTRACT, MaxAge())
    # The last by name first, so that what is added comes before it.
    convert(paths[2:], tmp_path / "added", CONTRACT, MaxAge())
    convert(paths[:1], tmp_path / "added", CONTRACT, MaxAge())
    convert(paths[1:2], tmp_path / "added", CONTRACT, MaxAge())
    assert tree(tmp_path / "added") == tree(tmp_path / "once")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_workers_and_the_order_of_bags_change_no_byte(bags, tmp_path, monkeypatch):
    paths = find_bags([bags])[1:3]
    convert(paths, tmp_path / "one", CONTRACT, MaxAge())
    # Forked, they need no import; that the job may go to a spawned one is told by its pickling.
    asked, forking = [], multiprocessing.get_context("fork")

    def process(target, args, daemon):
        job = pickle.loads(pickle.dumps(args[1]))
        return forking.Process(target=target, args=(args[0], job), daemon=daemon)

    context = SimpleNamespace(Pipe=forking.Pipe, Process=process)
    monkeypatch.setattr(
        multiprocessing, "get_context", lambda method: asked.append(method) or context
    )
    monkeypatch.setattr(workers.cv2, "setNumThreads", lambda _: None)  # not after a fork
    convert(paths[::-1], tmp_path / "two", CONTRACT, MaxAge(), workers=2)
    assert asked == ["spawn"]
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_what_is_done_is_not_done_again(bags, tmp_path, monkeypatch):
    paths = find_bags([bags])[:3]
    convert(paths[:2], tmp_path / "d", CONTRACT, MaxAge())
    read = []
    from training.datasets import bag_shard

    real = bag_shard.read_recording
    monkeypatch.setattr(
        bag_shard, "read_recording", lambda bag, c: read.append(bag.path.name) or real(bag, c)
    )
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    assert read == ["play-2"]


def test_a_bag_that_changed_replaces_its_frames(bags, bag_writer, tmp_path, capsys):
    paths = find_bags([bags])[:2]
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    shutil.rmtree(paths[1])
    bag_writer.moving_episode("play-1", 9, seed=7)
    info = convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    assert "play-1 has changed since: its frames are replaced" in capsys.readouterr().err
    convert(paths, tmp_path / "new", CONTRACT, MaxAge())
    assert tree(tmp_path / "d") == tree(tmp_path / "new")
    assert info["total_frames"] == 6 + 9


def test_a_bag_given_twice_under_two_names_counts_once(bags, tmp_path):
    shutil.copytree(bags / "play-0", bags / "copy")
    info = convert([bags / "play-0", bags / "copy"], tmp_path / "d", CONTRACT, MaxAge())
    assert info["total_episodes"] == 1
    (skipped,) = info["vla_ros"]["provenance"]["skipped_bags"]
    assert skipped["bag"] == "bags/play-0"
    assert skipped["reason"] == "the same recording as bags/copy"


def test_bags_of_one_name_are_told_apart(bags, tmp_path):
    other = tmp_path / "elsewhere/bags/play-0"
    shutil.copytree(bags / "play-1", other)
    info = convert([bags / "play-0", other], tmp_path / "d", CONTRACT, MaxAge())
    names = [row["bag"] for row in info["vla_ros"]["provenance"]["bags"]]
    assert len(set(names)) == 2
    assert all(name.startswith("bags/play-0~") for name in names)


def test_another_rate_or_label_is_refused_and_nothing_is_touched(bags, tmp_path):
    paths = find_bags([bags])[:1]
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    before = tree(tmp_path / "d")
    with pytest.raises(DatasetError, match=r"other contract .*rate_hz: 5.0 there, 10.0 here"):
        convert(paths, tmp_path / "d", tap_contract(image_size=16, rate_hz=10), MaxAge())
    with pytest.raises(DatasetError, match=r"other options .*'image_s': 0.12.* there"):
        convert(paths, tmp_path / "d", CONTRACT, MaxAge(image_s=0.3))
    assert tree(tmp_path / "d") == before


def test_a_half_made_dataset_of_other_options_is_refused(bags, tmp_path):
    paths = find_bags([bags])[:1]
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    for part in ("meta", "data"):
        shutil.rmtree(tmp_path / "d" / part)
    with pytest.raises(DatasetError, match="d was begun with other options"):
        convert(paths, tmp_path / "d", CONTRACT, MaxAge(image_s=0.3))


def test_options_may_change_after_a_try_that_gave_nothing(bags, tmp_path):
    paths = find_bags([bags])[:1]
    with pytest.raises(BagError, match="none of 1 bags can be used; .* no message on /side"):
        convert(paths, tmp_path / "d", tap_contract("side"), MaxAge())
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())


def test_two_conversions_do_not_write_to_one_dataset(bags, tmp_path):
    from training.datasets.bag_shard import Settings
    from training.datasets.shard_folder import opened

    settings = Settings(CONTRACT)
    options = {**settings.options, "images": "jpeg"}
    with (
        opened(tmp_path / "d", CONTRACT, options),
        pytest.raises(DatasetError, match=r"another conversion writes to .*/d; wait for it"),
    ):
        convert(find_bags([bags]), tmp_path / "d", CONTRACT, MaxAge())


def test_a_full_disk_ends_it_in_one_sentence_and_keeps_what_is_done(bags, tmp_path, fork):
    paths = find_bags([bags])
    convert(paths[:2], tmp_path / "d", CONTRACT, MaxAge())
    before = tree(tmp_path / "d")

    def no_room():
        # The nearest to a full disk that needs no disk of one's own: no file may grow beyond.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        options = ["--image-size", "16", "--workers", "1", "--out", str(tmp_path / "d")]
        return main([*map(str, paths), *options])

    code, said = fork(no_room).end()
    assert code == 1
    assert said.count("\n") == 1
    assert "/d cannot be written (" in said
    assert "after 2 of 4 bags; what was converted is kept: free space" in said
    now = tree(tmp_path / "d")
    assert {name: now[name] for name in before} == before


def test_a_folder_where_nothing_may_be_written_is_one_sentence(bags, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"file/d cannot be written \(Not a directory\) after 0"):
        convert(find_bags([bags])[:1], tmp_path / "file/d", CONTRACT, MaxAge())


def test_a_damaged_shard_is_made_anew(bags, tmp_path):
    paths = find_bags([bags])[:2]
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    before = tree(tmp_path / "d")
    frames = sorted((tmp_path / "d/.shards").glob("*/frames.parquet"))[0]
    frames.write_bytes(frames.read_bytes()[:200])
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    assert tree(tmp_path / "d") == before


def test_the_dataset_names_no_place_of_this_machine(bags, tmp_path):
    convert(find_bags([bags]), tmp_path / "d", CONTRACT, MaxAge())
    info = json.loads((tmp_path / "d/meta/info.json").read_text())
    assert str(tmp_path) not in json.dumps(info)
