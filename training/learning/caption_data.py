"""Shards of captions as batches: pictures decoded once, questions as `vla_ros.sim.captions` has."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from training.learning.frame_cache import cached_frames, jpeg_frames
from vla_ros.core.errors import DatasetError

# One frame in this many is held out.
HELD_OUT_EVERY = 20
# The tool's name among the things.
GRIPPER = "gripper"
# Sentences that a tokenizer is learned on.
_SENTENCES = 60_000


@dataclass(frozen=True, eq=False)
class Captions:
    """All frames of a folder.

    Attributes:
        frames: (N, S, S, 3) uint8, memory-mapped.
        table: questions, gripper_m, gripper_uv, held and things, row by row as the frames.
        key: hash of what is in the files.
        trained, held_out: which frames are learned from, and which are not.
    """

    frames: np.ndarray
    table: pa.Table
    key: str
    trained: np.ndarray
    held_out: np.ndarray

    def pictures(self, indices: np.ndarray) -> torch.Tensor:
        """Return (B, 1, 3, S, S) float32 in [-1, 1], channels last in memory."""
        chosen = torch.from_numpy(self.frames[indices])
        return (chosen.permute(0, 3, 1, 2).float() / 127.5 - 1.0)[:, None]

    def questions(self, index: int) -> list[dict]:
        """Return the questions of a frame, with the keys kind, prompt, answer and held_out."""
        return self.table["questions"][int(index)].as_py()

    @property
    def names(self) -> list[str]:
        """The gripper, and all things that are in some frame, by name."""
        things = pa.concat_arrays(self.table["things"].chunks)
        return [GRIPPER, *sorted(things.flatten().field("name").unique().to_pylist())]

    def places_m(self, index: int) -> dict[str, list[float]]:
        """Return where in base_link [m] the gripper is and each thing that shows, by name."""
        return self._seen(index, "gripper_m", "position_m")

    def places_uv(self, index: int) -> dict[str, list[float]]:
        """Return where in the picture what shows is, by name, as `places_m`; (0, 0) to (1, 1).

        The gripper's middle may be out of the picture, and is left out then.
        """
        seen = self._seen(index, "gripper_uv", "uv")
        return {name: uv for name, uv in seen.items() if min(uv) >= 0 and max(uv) < 1}

    def _seen(self, index: int, of_gripper: str, of_thing: str) -> dict[str, list[float]]:
        """Return a column of the gripper and a field of each thing that shows, by name."""
        seen = {GRIPPER: self.table[of_gripper][int(index)].as_py()}
        for thing in self.table["things"][int(index)].as_py():
            if thing["is_seen"]:
                seen[thing["name"]] = thing[of_thing]
        return seen

    def sentences(self) -> list[str]:
        """Return prompts and answers of trained frames that may be learned from."""
        found: list[str] = []
        for index in self.trained:
            for question in self.questions(index):
                if not question["held_out"]:
                    found += [question["prompt"], question["answer"]]
            if len(found) >= _SENTENCES:
                break
        return found

    def draw(
        self, rng: np.random.Generator, batch_size: int, per_frame: int
    ) -> tuple[np.ndarray, list[str], list[str]]:
        """Return frames (B,), and B * per_frame prompts and answers, those of a frame together.

        A frame with fewer questions that may be learned from gives some twice.
        """
        indices = np.sort(rng.choice(self.trained, batch_size, replace=True))
        prompts, answers = [], []
        for index in indices:
            allowed = [q for q in self.questions(index) if not q["held_out"]]
            if not allowed:
                raise DatasetError(
                    f"frame {index} of the captions has no question to learn from; "
                    "generate them with more --questions"
                )
            again = len(allowed) < per_frame
            for k in rng.choice(len(allowed), per_frame, replace=again):
                prompts.append(allowed[k]["prompt"])
                answers.append(allowed[k]["answer"])
        return indices, prompts, answers


def open_captions(folder: Path, image_size: int) -> Captions:
    """Open what `python -m vla_ros.sim.captions --out folder` wrote.

    Raises:
        DatasetError: there are no shards, or they cannot be read.
    """
    files = sorted(folder.glob("shard-*.parquet"))
    if not files:
        raise DatasetError(
            f"{folder} has no captions; write some with python -m vla_ros.sim.captions"
        )
    columns = ["frame", "questions", "gripper_m", "gripper_uv", "held", "things"]
    try:
        table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
        table.select(columns)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DatasetError(
            f"{folder} has a damaged shard, or one of an older version ({error}); "
            "run the command that wrote it again, into another folder"
        ) from None
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    key = digest.hexdigest()
    frames = cached_frames(
        folder,
        f"captions-{image_size}",
        key,
        (len(table), image_size, image_size, 3),
        lambda: jpeg_frames(files, "image", image_size, image_size),
    )
    is_held_out = table["frame"].to_numpy() % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    if is_held_out.all() or not is_held_out.any():
        raise DatasetError(f"{folder} has {len(table)} frames; make at least {HELD_OUT_EVERY}")
    return Captions(frames, table, key, np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out))
