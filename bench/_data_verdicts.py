"""What LeRobot itself and two validators say of datasets written here, and the way back.

`python -m bench.data --verdicts`: small recordings are converted with pictures as JPEG and as
video; then LeRobot's own reader and visualiser and both validators look at them, each in an
environment of its own, and what LeRobot's writer makes of the recordings is imported.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from bench import _data_peers as peers
from bench._data_bags import CAMERAS, write_bag
from bench._data_commands import ROOT, convert_command, writer_command
from training.learning.dataset import open_dataset
from vla_ros.core import arm

SECONDS = 8.0
# Median PSNR of a video against the JPEGs it was made of; shifted by one frame it is below 30.
LEAST_MEDIAN_DB = 32.0
_VISUALISER = """
import sys
sys.path.insert(0, {folder!r})
import _data_peer_start
from lerobot.scripts.lerobot_dataset_viz import main
main()
"""
# What bench/_data_peer_lerobot.py writes.
_MAP = {
    "kind": "play",
    "cameras": {name: f"observation.images.{name}" for name in CAMERAS},
    "state": {
        "column": "observation.state",
        "joints": [f"joint {number}" for number in range(6)],
        "gripper": {"axis": "finger", "closed": arm.FINGER_CLOSED_M, "open": arm.FINGER_OPEN_M},
    },
}


class Verdict(NamedTuple):
    """What somebody said of a dataset, and whether that is as it should be."""

    what: str
    said: str
    is_good: bool


def verdicts(folder: Path) -> Iterator[Verdict]:
    """Yield what is said, one after the other; `folder` takes what is written."""
    bags = folder / "bags"
    bags.mkdir()
    for number in range(2):
        write_bag(bags / f"play-{number}", SECONDS, number)
    ours = {}
    for images, more in (
        ("jpeg", []),
        ("vp9", ["--images", "video"]),
        ("av1", ["--images", "video", "--codec", "av1"]),
    ):
        ours[images] = folder / f"ours-{images}"
        _output([*convert_command(bags, ours[images], 2), *more])
    for peer in (peers.LEROBOT, peers.STREAMING):
        yield from _read_by(peer, ours)
    yield from _drawn(ours["jpeg"], folder / "drawn")
    for name in ("jpeg", "vp9"):
        yield from _validated(ours[name], name)
    for peer in (peers.LEROBOT, peers.STREAMING):
        yield from _imported(peer, sorted(bags.iterdir()), folder)


def _read_by(peer: peers.Peer, ours: dict[str, Path]) -> Iterator[Verdict]:
    for images, dataset in ours.items():
        found = _json_of(peer, [_script("reads"), str(dataset)])
        total = json.loads((dataset / "meta/info.json").read_text())["total_frames"]
        shown = len(CAMERAS) * total if images == "jpeg" else 0
        said = f"{found['episodes']} episodes, {found['rows_equal']} rows equal to the files'"
        said += f", {found['pictures_equal']} pictures equal byte for byte" if shown else ""
        is_good = found["rows_equal"] == total and found["pictures_equal"] == shown
        yield Verdict(f"LeRobotDataset of {peer.name}, pictures as {images}", said, is_good)
        if images == "jpeg":
            continue
        found = _json_of(peer, [_script("reads"), str(dataset), "--against", str(ours["jpeg"])])
        said = f"{found['pictures']} pictures, PSNR at least {found['least_db']:.1f}, median "
        said += f"{found['median_db']:.1f} dB"
        what = f"{images} against the JPEGs it was made of, read by {peer.name}"
        yield Verdict(what, said, found["median_db"] >= LEAST_MEDIAN_DB)


def _drawn(dataset: Path, out: Path) -> Iterator[Verdict]:
    peer = peers.LEROBOT
    code = _VISUALISER.format(folder=str(ROOT / "bench"))
    command = [str(peers.python_of(peer)), "-c", code, "--repo-id", "bench/data"]
    command += ["--root", str(dataset), "--episode-index", "0", "--save", "1"]
    _output([*command, "--output-dir", str(out)], peers.environment_of(peer))
    sizes = {file.name: file.stat().st_size for file in out.glob("*.rrd")}
    said = ", ".join(f"{name} of {size / 1e6:.1f} MB" for name, size in sizes.items())
    what = f"lerobot-dataset-viz of {peer.name}, episode 0 as a Rerun recording"
    yield Verdict(what, said or "nothing", bool(sizes) and min(sizes.values()) > 0)


def _validated(dataset: Path, images: str) -> Iterator[Verdict]:
    """Yield the words of lerobot-doctor and of deepen-grade."""
    programs = peers.python_of(peers.LEROBOT).parent
    env = peers.environment_of(peers.LEROBOT)
    text = _output([str(programs / "lerobot-doctor"), "check", str(dataset)], env, (0, 1, 2))
    lines = [line.strip(" -") for line in text.splitlines()]
    summary = next((line for line in lines if line.startswith("Summary:")), "no summary")
    warned = [line for line in lines if line.startswith(("[WARN]", "[FAIL]"))]
    said = f"{summary.removeprefix('Summary: ')} ({', '.join(warned)})" if warned else summary
    is_good = "Summary" in summary and "FAIL" not in summary
    yield Verdict(f"lerobot-doctor, pictures as {images}", said, is_good)
    command = [str(programs / "deepen"), "grade", str(dataset), "--json", "--quiet"]
    found = json.loads(_output(command, env, (0, 1)))
    grade = found["overall"]["grade"]
    yield Verdict(f"deepen-grade, pictures as {images}", f"grade {grade}", grade in ("A", "B"))


def _imported(peer: peers.Peer, bags: list[Path], folder: Path) -> Iterator[Verdict]:
    """Yield what training.lerobot_import makes of a dataset that LeRobot's own writer wrote."""
    theirs, out = folder / f"theirs-{peer.name}", folder / f"imported-{peer.name}"
    write = writer_command(peer, bags, theirs, 30)
    _output(write.arguments, write.env)
    map_file = folder / "map.yaml"
    map_file.write_text(yaml.safe_dump(_MAP))
    command = [sys.executable, "-m", "training.lerobot_import", str(theirs), "--out", str(out)]
    _output([*command, "--map", str(map_file), "--image-size", "64"])
    total = json.loads((theirs / "meta/info.json").read_text())["total_frames"]
    loaded = open_dataset(out, 64, CAMERAS)
    said = f"{len(loaded)} of {total} frames in {len(loaded.episodes)} episodes, through the loader"
    # The last frame of an episode has no next one.
    is_good = len(loaded) == total - len(bags)
    yield Verdict(f"imported from what {peer.name} wrote (AV1)", said, is_good)


def _script(name: str) -> str:
    return str(ROOT / f"bench/_data_peer_{name}.py")


def _json_of(peer: peers.Peer, arguments: list[str]) -> dict:
    said = _output([str(peers.python_of(peer)), *arguments], peers.environment_of(peer))
    return json.loads(said.splitlines()[-1])


def _output(
    command: list[str], env: dict[str, str] | None = None, fine: tuple[int, ...] = (0,)
) -> str:
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode not in fine:
        raise SystemExit(f"{' '.join(command[:4])}… failed:\n{done.stderr[-2000:]}")
    return done.stdout


def tell(folder: Path, target: Path) -> bool:
    """Print each verdict as it comes, keep all in `target`; tell whether all are good."""
    told: list[Verdict] = []
    print("| what | said | good |\n|---|---|---|", flush=True)
    for verdict in verdicts(folder):
        told.append(verdict)
        print(f"| {verdict.what} | {verdict.said} | {'yes' if verdict.is_good else '**no**'} |")
        rows = [one._asdict() for one in told]
        target.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return all(verdict.is_good for verdict in told)
