"""Pictures of random scenes with questions and true answers, to pretrain a backbone on.

    python -m vla_ros.sim.captions --out data/captions --frames 50000 --seed 0 --workers 2

Writes DIR/captions.json and DIR/shard-00000.parquet, ... of 500 frames: picture (JPEG at the
models' size), questions, and where gripper and objects truly are, in the room and in the picture.
Frame i depends on the seed and i alone, however many workers there are. Run again to go on where it
was stopped, or with more frames to add some. Scenes look as in `scene.py`: same view, table and
light, so what benchmarks change of them stays unseen. --vary-looks draws another table, room and
light for every few frames (`random_looks`: none that benchmarks ask for), --vary-light changes the
brightness and tint of the pictures.
"""

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from vla_ros.core.errors import SceneError, VlaError
from vla_ros.sim import objects, scene
from vla_ros.sim.caption_facts import Facts, facts_of
from vla_ros.sim.caption_scenes import SceneSampler
from vla_ros.sim.caption_text import Question, questions_of
from vla_ros.sim.looks import STANDARD
from vla_ros.sim.random_looks import random_look
from vla_ros.sim.render import SceneRenderer

SETTINGS_FILE = "captions.json"
# Raise it when the same settings would give other frames.
VERSION = 3
SHARD_FRAMES = 500
# As the camera node draws it, and as the datasets' JPEG.
_CAMERA_SIZE, _JPEG_QUALITY = (640, 480), 95
# What shows is counted at this size.
_COUNT_SIZE = (160, 120)
# Frames in a row that look alike where looks vary.
_FRAMES_A_LOOK = 10
# Of their seeds, so that they are not those of scenes.
_LOOKS = 1

_QUESTION = pa.struct([(name, pa.string()) for name in ("kind", "prompt", "answer", "held_out")])
_VECTOR = pa.list_(pa.float32(), 3)
_UV = pa.list_(pa.float32(), 2)
_THING = pa.struct(
    [
        ("name", pa.string()),
        ("position_m", _VECTOR),
        ("uv", _UV),
        ("is_seen", pa.bool_()),
    ]
)
SCHEMA = pa.schema(
    [
        ("frame", pa.int64()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("questions", pa.list_(_QUESTION)),
        ("gripper_m", _VECTOR),
        ("gripper_uv", _UV),
        ("opening", pa.float32()),
        ("held", pa.string()),
        ("things", pa.list_(_THING)),
    ]
)


@dataclass(frozen=True)
class Settings:
    """What determines a frame, next to its number.

    Attributes:
        seed: of everything random.
        image_size: side of the pictures [px].
        questions: how many a frame has.
        vary_light: brightness and tint differ between pictures.
        vary_looks: table, room and light differ every few frames.
        names: of what there may be and is asked about.
    """

    seed: int
    image_size: int
    questions: int
    vary_light: bool
    vary_looks: bool = False
    names: tuple[str, ...] = objects.KNOWN_NAMES
    version: int = VERSION


class FrameMaker:
    """Makes frames; holds OpenGL contexts, so make and use it in one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scenes = SceneSampler(settings.names)
        self._look, self._camera = STANDARD, SceneRenderer(*_CAMERA_SIZE)
        self._counter = SceneRenderer(*_COUNT_SIZE)

    def frame(self, number: int) -> tuple[np.ndarray, Facts, list[Question]]:
        """Return picture (S, S, 3) uint8 RGB, facts and questions of frame `number`."""
        rng = np.random.default_rng([self._settings.seed, number])
        qpos = self._scenes.draw(rng)
        shown = self._counter.objects_seen(qpos)
        without_arm = self._counter.objects_seen(qpos, with_arm=False)
        facts = facts_of(qpos, shown, without_arm, known=self._settings.names)
        questions = questions_of(facts, rng, self._settings.questions)
        size = self._settings.image_size
        self._furnish(number)
        picture = cv2.resize(self._camera.render(qpos), (size, size), interpolation=cv2.INTER_AREA)
        if self._settings.vary_light:
            gain = rng.uniform(0.7, 1.25) * rng.uniform(0.93, 1.07, 3)
            picture = np.clip(picture * gain, 0, 255).astype(np.uint8)
        return picture, facts, questions

    def _furnish(self, number: int) -> None:
        """Have the camera see frame `number` with the look that is its own."""
        if not self._settings.vary_looks:
            return
        group = number // _FRAMES_A_LOOK
        look = random_look(np.random.default_rng([self._settings.seed, _LOOKS, group]))
        if look != self._look:
            self._camera.close()
            self._look, self._camera = look, SceneRenderer(*_CAMERA_SIZE, look=look)

    def row(self, number: int) -> dict:
        """Return frame `number` as a row of SCHEMA."""
        picture, facts, questions = self.frame(number)
        done, data = cv2.imencode(
            ".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        assert done
        return {
            "frame": number,
            "image": {"bytes": data.tobytes(), "path": None},
            "questions": [asdict(question) for question in questions],
            "gripper_m": facts.tool.position_m,
            "gripper_uv": facts.tool.uv,
            "opening": facts.opening,
            "held": facts.held,
            "things": [
                {
                    "name": thing.name,
                    "position_m": thing.position_m,
                    "uv": thing.uv,
                    "is_seen": thing.is_seen,
                }
                for thing in facts.things
            ],
        }

    def close(self) -> None:
        """Free the OpenGL contexts."""
        self._camera.close()
        self._counter.close()


def shard_path(folder: Path, index: int) -> Path:
    """Return the file of shard `index`."""
    return folder / f"shard-{index:05d}.parquet"


@cache
def _maker(settings: Settings) -> FrameMaker:
    """Return this process's maker: a worker makes many shards."""
    return FrameMaker(settings)


def write_shard(folder: Path, index: int, count: int, settings: Settings) -> int:
    """Write shard `index` with its first `count` frames in one piece; return `count`.

    Raises:
        SceneError: there is no OpenGL, or the disk refuses.
    """
    cv2.setNumThreads(1)
    maker = _maker(settings)
    first = index * SHARD_FRAMES
    rows = [maker.row(number) for number in range(first, first + count)]
    path = shard_path(folder, index)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), temporary, compression="zstd")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SceneError(
            f"{path} cannot be written ({error.strerror or error}); free the disk and run again"
        ) from None
    return count


def prepare_folder(folder: Path, settings: Settings) -> None:
    """Make the folder and write its settings, or check that it has these very ones.

    Raises:
        SceneError: the folder has captions of other settings, or is not writable.
    """
    path = folder / SETTINGS_FILE
    text = json.dumps(asdict(settings), indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(text)
        found = path.read_text()
    except OSError as error:
        raise SceneError(
            f"{path} cannot be written ({error.strerror}); choose another --out"
        ) from None
    if found != text:
        raise SceneError(
            f"{folder} has captions of other settings ({' '.join(found.split())}); give the same "
            "ones to go on, or another --out"
        )


def missing_shards(folder: Path, frames: int) -> list[tuple[int, int]]:
    """Return (index, frames) of the shards that are absent, damaged or shorter than wanted."""
    missing = []
    for index, first in enumerate(range(0, frames, SHARD_FRAMES)):
        count = min(SHARD_FRAMES, frames - first)
        try:
            present = pq.read_metadata(shard_path(folder, index)).num_rows
        except (OSError, pa.ArrowException):
            present = 0
        if present < count:
            missing.append((index, count))
    return missing


def generate(folder: Path, frames: int, settings: Settings, workers: int) -> int:
    """Write what is missing of the frames; return how many were written."""
    prepare_folder(folder, settings)
    work = missing_shards(folder, frames)
    total = sum(count for _, count in work)
    with tqdm(total=total, desc="captions", unit="frame", disable=None) as bar:
        if workers <= 1:
            for index, count in work:
                bar.update(write_shard(folder, index, count, settings))
            return total
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            jobs = [pool.submit(write_shard, folder, *shard, settings) for shard in work]
            try:
                for job in jobs:
                    bar.update(job.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return total


def main(argv: list[str] | None = None) -> int:
    """Generate as the command line says; an error is one sentence on stderr and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="vla_ros.sim.captions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--frames", type=int, required=True, help="pictures there shall be")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and questions")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--image-size", type=int, default=128, help="side of the pictures [px]")
    parser.add_argument("--questions", type=int, default=12, help="a picture")
    parser.add_argument("--vary-light", action="store_true", help="vary brightness and tint")
    parser.add_argument("--vary-looks", action="store_true", help="vary table, room and light")
    parser.add_argument(
        "--objects",
        default=",".join(objects.KNOWN_NAMES),
        help="what there may be, with commas in between",
    )
    args = parser.parse_args(argv)
    names = tuple(name.strip() for name in args.objects.split(","))
    settings = Settings(
        args.seed, args.image_size, args.questions, args.vary_light, args.vary_looks, names
    )
    try:
        scene.check_objects(names)
        written = generate(args.out, args.frames, settings, args.workers)
    except VlaError as error:
        print(f"vla_ros.sim.captions: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on in {args.out}", file=sys.stderr)
        return 130
    print(f"{args.out}: {args.frames} frames, {written} of them written now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
