"""Streams of one recording to frames at the policy's rate. Pure: no files, no clock.

A frame at tick t holds what a policy would have seen at t (`core.resample`, the class that the
live node uses) and the motion from t to the next tick. A tick that no stream can vouch for yields
no frame and cuts the recording in two; nothing is filled in.
"""

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np

from vla_ros.core.actions import ee_delta
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError, StaleDataError
from vla_ros.core.kinematics import forward
from vla_ros.core.resample import NS_PER_S, StreamBuffer, tick_grid
from vla_ros.core.rotations import rotvec_from_matrix

# A frame needs a successor, and a pair of frames needs two.
MIN_FRAMES = 2


@dataclass(frozen=True)
class MaxAge:
    """How long a sample of each stream may stand in at a tick [s]."""

    image_s: float = 0.12
    joints_s: float = 0.05
    commanded_s: float = 0.2


@dataclass(frozen=True)
class Streams:
    """One recording by stamp.

    Attributes:
        images: decoded pictures (H, W, 3) uint8 at dataset size, or the JPEG to keep: any value.
        joints: (joints (6,) [rad], opening [0, 1]).
        commanded: (7,) 6 joints [rad] and opening [0, 1].
    """

    images: StreamBuffer
    joints: StreamBuffer
    commanded: StreamBuffer

    @classmethod
    def empty(cls, max_age: MaxAge) -> "Streams":
        """Return buffers with the bounds of `max_age`."""
        return cls(
            *(
                StreamBuffer(name, int(age_s * NS_PER_S))
                for name, age_s in (
                    ("images", max_age.image_s),
                    ("joint states", max_age.joints_s),
                    ("commanded motion", max_age.commanded_s),
                )
            )
        )


@dataclass(frozen=True)
class Segment:
    """Consecutive frames of one recording, N of them.

    Attributes:
        ticks_ns: (N,) int64 [ns].
        images: N values of the image stream.
        state: (N, 7) float32, joints [rad] and opening.
        ee_pose: (N, 6) float32, tool position [m] and rotation vector [rad] in base_link.
        action: (N, 7) float32, reached `ee_delta` to the next tick; gripper as commanded there,
            1 where the opening is at least 0.5.
        action_commanded: (N, 7) float32, the same between the commanded poses of both ticks.
        image_age_ns: (N,) int64, age of each picture at its tick.
    """

    ticks_ns: np.ndarray
    images: list
    state: np.ndarray
    ee_pose: np.ndarray
    action: np.ndarray
    action_commanded: np.ndarray
    image_age_ns: np.ndarray

    def cut(self, part: slice, images: list) -> "Segment":
        """Return the frames of `part` with other image values."""
        arrays = {
            field.name: getattr(self, field.name)[part]
            for field in fields(self)
            if field.name != "images"
        }
        return Segment(images=images, **arrays)


def segments_from_streams(streams: Streams, contract: Contract) -> tuple[list[Segment], Counter]:
    """Return the segments of one recording and how many ticks were dropped, by reason.

    Ticks count from the first picture's stamp, so that a camera whose rate is a multiple of the
    contract's is sampled exactly on its stamps; those before every stream began are not ticks.
    """
    dropped: Counter = Counter()
    samples = [_sample(streams, tick_ns, dropped) for tick_ns in _ticks(streams, contract.rate_hz)]
    segments: list[Segment] = []
    run: list[dict] = []
    for now, following in zip(samples, [*samples, None][1:], strict=True):
        frame = _frame(now, following, contract, dropped)
        if frame is not None:
            run.append(frame)
            continue
        _close(run, segments, dropped)
        run = []
    return segments, dropped


def _ticks(streams: Streams, rate_hz: float) -> list[int]:
    buffers = (streams.images, streams.joints, streams.commanded)
    firsts = [buffer.first_ns for buffer in buffers if buffer.first_ns is not None]
    lasts = [buffer.last_ns for buffer in buffers if buffer.last_ns is not None]
    if len(firsts) < len(buffers):
        return []
    # Half-open: a sample that lands exactly on the last tick counts.
    ticks = tick_grid(firsts[0], min(lasts) + 1, rate_hz)
    return [int(tick) for tick in ticks if tick >= max(firsts)]


def _sample(streams: Streams, tick_ns: int, dropped: Counter) -> dict | None:
    sample: dict = {"tick_ns": tick_ns}
    for name in ("images", "joints", "commanded"):
        try:
            stamp_ns, sample[name] = getattr(streams, name).sample(tick_ns)
        except StaleDataError:
            dropped[f"stale {name}"] += 1
            return None
        sample[f"{name}_ns"] = stamp_ns
    joints, opening = sample["joints"]
    sample["T"] = forward(joints)
    sample["T_commanded"] = forward(sample["commanded"][:6])
    sample["state"] = np.array([*joints, opening], dtype=np.float32)
    return sample


def _frame(
    now: dict | None, following: dict | None, contract: Contract, dropped: Counter
) -> dict | None:
    if now is None:
        return None
    if following is None:
        dropped["no next frame"] += 1
        return None
    gripper = float(following["commanded"][6] >= 0.5)
    action = ee_delta(now["T"], following["T"], gripper)
    try:
        contract.state.validate(now["state"])
        contract.action.validate(action)
    except ContractError:
        dropped["outside the contract"] += 1
        return None
    return {
        "tick_ns": now["tick_ns"],
        "image": now["images"],
        "image_age_ns": now["tick_ns"] - now["images_ns"],
        "state": now["state"],
        "ee_pose": np.concatenate([now["T"][:3, 3], rotvec_from_matrix(now["T"][:3, :3])]),
        "action": action,
        "action_commanded": ee_delta(now["T_commanded"], following["T_commanded"], gripper),
    }


def _close(run: list[dict], segments: list[Segment], dropped: Counter) -> None:
    if not run:
        return
    if len(run) < MIN_FRAMES:
        dropped["too short a piece"] += len(run)
        return
    segments.append(
        Segment(
            ticks_ns=np.array([f["tick_ns"] for f in run], dtype=np.int64),
            images=[f["image"] for f in run],
            state=np.stack([f["state"] for f in run]),
            ee_pose=np.stack([f["ee_pose"] for f in run]).astype(np.float32),
            action=np.stack([f["action"] for f in run]),
            action_commanded=np.stack([f["action_commanded"] for f in run]),
            image_age_ns=np.array([f["image_age_ns"] for f in run], dtype=np.int64),
        )
    )
