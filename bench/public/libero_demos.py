"""Demonstrations of LIBERO tasks by the scripted expert, as a LeRobot dataset (layout v2.1).

Runs under the Python of `environments.LIBERO`. Beside the dataset stand `map.yaml`, with which
`training.lerobot_import --label commanded` makes training data of it, and `cameras.json`, which
`vla_eval_server --cameras` takes. Actions are in metres and radians. An episode is kept if the
benchmark's own rule says that it succeeded; those that failed are counted.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.public.libero_expert import Expert
from bench.public.libero_peer_world import (
    BASE_SUITES,
    CAMERA,
    IDLE,
    NUM_LAYOUTS,
    RATE_HZ,
    ROTATION_RAD,
    SIDE_PX,
    TRANSLATION_M,
    Seen,
    World,
)

# The gripper lets go, and then the benchmark's rule must hold.
_SETTLE_STEPS = 10
# Where this many of a task fail and none succeeds, the expert cannot do it.
_HOPELESS = 5
_STATE = ["x", "y", "z", "rx", "ry", "rz", "finger_1", "finger_2"]
_ACTION = ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"]
_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_UNIT = np.array([TRANSLATION_M] * 3 + [ROTATION_RAD] * 3 + [1.0])
MAP = {
    "robot_model": "libero_panda",
    "kind": "demo",
    "success": True,
    "cameras": {CAMERA: f"observation.images.{CAMERA}"},
    "state": {
        "column": "observation.state",
        "joints": [0, 1, 2, 3, 4, 5],
        "gripper": {"axis": 6, "closed": 0.0, "open": 0.04},
    },
    "pose": {
        "column": "observation.state",
        "position": [0, 1, 2],
        "rotation": {"as": "rotvec", "axes": [3, 4, 5]},
    },
    "action": {
        "column": "action",
        "is": "ee_delta",
        "frame": "base",
        "position": [0, 1, 2],
        "rotation": {"as": "rotvec", "axes": [3, 4, 5]},
        "gripper": {"axis": 6, "closed": 1.0, "open": -1.0},
    },
}


def expert_episode(
    world: World, layout: int, seen: Seen, most: int, take: Callable[[Seen, np.ndarray], None]
) -> bool:
    """Have the expert do the episode that `seen` began; return whether it succeeded.

    Args:
        world: in that episode.
        layout: of it; the expert's own variations are a function of it and the task.
        seen: its beginning.
        most: steps, of the benchmark's limit.
        take: is given what was seen and done, before each step.
    """
    expert = Expert(world.goal, seen, np.random.default_rng([world.task, layout]))
    settling = 0
    for _ in range(most):
        if expert.is_over:
            settling += 1
        action = IDLE if settling else expert.act(seen)
        take(seen, action)
        if world.step(action):
            return True
        if settling > _SETTLE_STEPS:
            return False
        seen = world.seen()
    return False


def record(out: Path, base: str, tasks: list[int], count: int, seed: int = 0) -> dict:
    """Write `count` demonstrations of each task to the new dataset `out`; return what came of it.

    The last of the stored start states come first: scores are of the first ones.

    Raises:
        FileExistsError: `out` exists.
    """
    (out / "meta").mkdir(parents=True)
    begun, rows, sentences = time.monotonic(), [], []
    eyes: list[dict] = []
    tried: dict[str, list[int]] = {}
    for number in tasks:
        world = World(base, number, seed)
        sentences.append(world.instruction)
        tried[world.instruction] = [0, 0]
        K, T = world.camera()
        eye = {"K": K.tolist(), "size": [SIDE_PX, SIDE_PX], "T_base_camera": T.tolist()}
        eyes.append({CAMERA: eye})
        for layout in reversed(range(NUM_LAYOUTS)):
            done, kept = tried[world.instruction]
            if kept == count or (kept == 0 and done == _HOPELESS):
                break
            frames = list(_frames(world, layout, BASE_SUITES[base]))
            is_success = bool(frames[-1][2])
            tried[world.instruction] = [done + 1, kept + is_success]
            if is_success:
                rows.append({"task": world.instruction, "length": len(frames)})
                _write_episode(out, len(rows) - 1, len(sentences) - 1, rows, frames)
        world.close()
        done, kept = tried[world.instruction]
        print(f"{world.instruction}: {kept} kept of {done} tried", file=sys.stderr, flush=True)
    if any(not np.allclose(eye[CAMERA]["T_base_camera"], T) for eye in eyes):
        raise ValueError(f"the camera of {base} is not at one place; record its tasks one by one")
    _write_meta(out, rows, sentences, eyes[0])
    return {
        "suite": base,
        "tried": sum(done for done, _ in tried.values()),
        "kept": len(rows),
        "frames": sum(row["length"] for row in rows),
        "seconds": round(time.monotonic() - begun, 1),
        "by_task": tried,
    }


def _frames(world: World, layout: int, most: int) -> Iterator[tuple[Seen, np.ndarray, bytes]]:
    """Yield (seen, action, PNG) of an episode; the last PNG is empty where it failed."""
    taken: list[tuple[Seen, np.ndarray, bytes]] = []

    def take(seen: Seen, action: np.ndarray) -> None:
        picture = cv2.cvtColor(world.picture(), cv2.COLOR_RGB2BGR)
        done, png = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert done
        taken.append((seen, action, png.tobytes()))

    is_success = expert_episode(world, layout, world.begin(layout), most, take)
    yield from taken[:-1]
    seen, action, png = taken[-1]
    yield seen, action, png if is_success else b""


def _write_episode(
    out: Path,
    number: int,
    task: int,
    rows: list[dict],
    frames: list[tuple[Seen, np.ndarray, bytes]],
) -> None:
    first, count = sum(row["length"] for row in rows[:-1]), len(frames)
    states = np.stack([seen.state for seen, _, _ in frames])
    actions = np.stack([action * _UNIT for _, action, _ in frames]).astype(np.float32)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            MAP["cameras"][CAMERA]: pa.array(
                [{"bytes": png, "path": None} for _, _, png in frames], image
            ),
            "observation.state": pa.array(states.tolist(), pa.list_(pa.float32(), 8)),
            "action": pa.array(actions.tolist(), pa.list_(pa.float32(), 7)),
            "timestamp": pa.array(np.arange(count) / RATE_HZ, pa.float32()),
            "frame_index": pa.array(np.arange(count), pa.int64()),
            "episode_index": pa.array(np.full(count, number), pa.int64()),
            "index": pa.array(np.arange(first, first + count), pa.int64()),
            "task_index": pa.array(np.full(count, task), pa.int64()),
        }
    )
    path = out / _DATA.format(episode_chunk=0, episode_index=number)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_meta(out: Path, rows: list[dict], sentences: list[str], eyes: dict) -> None:
    numbers = {"dtype": "int64", "shape": [1], "names": None}
    info = {
        "codebase_version": "v2.1",
        "robot_type": MAP["robot_model"],
        "fps": RATE_HZ,
        "total_episodes": len(rows),
        "total_frames": sum(row["length"] for row in rows),
        "total_tasks": len(sentences),
        "total_videos": 0,
        "total_chunks": 1,
        "chunks_size": 1_000_000,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": _DATA,
        "video_path": None,
        "features": {
            MAP["cameras"][CAMERA]: {
                "dtype": "image",
                "shape": [SIDE_PX, SIDE_PX, 3],
                "names": ["height", "width", "channels"],
            },
            "observation.state": {"dtype": "float32", "shape": [8], "names": _STATE},
            "action": {"dtype": "float32", "shape": [7], "names": _ACTION},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), numbers),
        },
    }
    episodes = [
        {"episode_index": n, "tasks": [row["task"]], "length": row["length"]}
        for n, row in enumerate(rows)
    ]
    tasks = [{"task_index": n, "task": text} for n, text in enumerate(sentences)]
    for name, lines in (("episodes", episodes), ("tasks", tasks)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (out / f"meta/{name}.jsonl").write_text(text, encoding="utf-8")
    (out / "meta/info.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
    # JSON is YAML.
    told = {**MAP, "calibrations": eyes}
    (out / "map.yaml").write_text(json.dumps(told, indent=1), encoding="utf-8")
    (out / "cameras.json").write_text(json.dumps(eyes, indent=1), encoding="utf-8")
