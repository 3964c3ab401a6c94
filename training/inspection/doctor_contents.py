"""What the doctor looks at within messages: joint states that no arm can have, broken pictures."""

from collections import Counter

import numpy as np

from training.inspection.doctor_report import JointFacts, PictureFacts
from training.recordings import messages
from training.recordings.cdr import HEAD_BYTES, Cdr
from training.recordings.messages import COMPRESSED_IMAGE
from training.recordings.source import Joints
from training.recordings.streams import CLOCK_STEP_NS
from vla_ros.core import arm
from vla_ros.core.errors import ContractError, SafetyError
from vla_ros.core.joint_states import JointStateFilter
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.resample import NS_PER_S

_MOST_PLACES = 200
_BATCH = 256
# So many pictures of a camera are decoded where not all are.
SAMPLED_PICTURES = 50
SAMPLED_EVERY = 30  # where the file does not tell how many there are
_ENDING_BYTES = 64


class JointCheck:
    """Judges joint states by the filter that the live nodes use.

    Args:
        wanted: names of the arm's joints and of the gripper.
        is_wx250s: whether they are measured on the arm that the filter knows; of others, and of
            commands, only failed reads and what is not finite are told.
        start_ns: arrival of the bag's first message.
    """

    def __init__(self, wanted: Joints, is_wx250s: bool, start_ns: int):
        self._wanted, self._start_ns = wanted, start_ns
        self._filter = JointStateFilter(wx250s_limits()) if is_wx250s else None
        self._messages = messages.JointStates()
        # Names, bytes and type of the positions.
        self._layout: tuple[tuple[str, ...], int, np.dtype] | None = None
        self._places: list[int] = []
        self._refused: Counter[str] = Counter()
        self._at: list[float] = []
        self._missing: set[str] = set()
        self._waiting: list[tuple[int, int, bytes]] = []
        self._last_ns: int | None = None

    def take(self, received_ns: int, stamp_ns: int, raw: bytes | memoryview) -> None:
        """Look at a message; raises ValueError where it is damaged."""
        start, stop = self._messages.place(raw)
        layout = self._messages.names, stop - start, self._messages.type
        if layout != self._layout:
            self._judge()
            known = layout[0][: layout[1] // 8]
            self._layout, self._places = layout, self._wanted.places_in(known)
            self._missing.update(set(self._wanted.wanted) - set(known))
        if self._places:
            self._waiting.append((received_ns, stamp_ns, bytes(raw[start:stop])))
            if len(self._waiting) >= _BATCH:
                self._judge()
        else:
            self._refuse("incomplete", received_ns)

    def facts(self) -> JointFacts:
        """Return what was found, after the last message."""
        self._judge()
        return JointFacts(dict(sorted(self._refused.items())), self._at, sorted(self._missing))

    def _judge(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        assert self._layout is not None
        positions = np.frombuffer(b"".join(row[2] for row in waiting), self._layout[2])
        values = positions.reshape(len(waiting), -1)[:, self._places]
        stamps = np.array([row[1] for row in waiting])
        if self._are_sound(stamps, values):
            # The filter judges one after the other; it need not see the rest of what is beyond
            # doubt, only where it goes on.
            waiting, values = [waiting[0], waiting[-1]], values[[0, -1]]
        for (received_ns, stamp_ns, _), row in zip(waiting, values.tolist(), strict=True):
            reason = self._fault(stamp_ns, row)
            if reason:
                self._refuse(reason, received_ns)

    def _are_sound(self, stamps: np.ndarray, values: np.ndarray) -> bool:
        """Tell whether every joint state is one that the filter would certainly pass."""
        q = values[:, :-1]
        if not np.all(np.isfinite(values)) or np.abs(q + np.pi).max(axis=1).min() < 0.1:
            return False
        if self._filter is None:
            return True
        limits = self._filter.limits
        moved = np.abs(np.diff(q, axis=0)).max(initial=0)
        return bool(
            np.all((q >= limits.low_rad) & (q <= limits.high_rad))
            and np.all(np.diff(stamps) > 0)
            and moved <= self._filter.jump_slack_rad
        )

    def _fault(self, stamp_ns: int, row: list[float]) -> str:
        """Return what is wrong with a joint state, empty where nothing is."""
        q = np.array(row[:-1])
        if self._filter is None:
            if np.abs(q + np.pi).max() < 0.01:
                return "failed read"
            return "" if np.all(np.isfinite(row)) else "not finite"
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            if stamp_ns >= self._last_ns - CLOCK_STEP_NS:
                return ""  # a duplicate or a late one, which the stream counts
            self._filter.reset()
        self._last_ns = stamp_ns
        finger_m = arm.finger_from_opening(self._wanted.gripper.opening(row[-1]))
        self._filter.rejected.clear()
        try:
            self._filter.accept(
                stamp_ns, (*arm.ARM_JOINTS, "left_finger"), np.array([*q, finger_m])
            )
        except SafetyError:
            return next(iter(self._filter.rejected)).replace("stamp or jump", "impossible jump")
        return ""

    def _refuse(self, reason: str, received_ns: int) -> None:
        self._refused[reason] += 1
        if len(self._at) < _MOST_PLACES:
            self._at.append((received_ns - self._start_ns) / NS_PER_S)


class PictureCheck:
    """Looks at the ends of every picture, and decodes some.

    Args:
        msgtype: CompressedImage or Image.
        every: decode one of so many; 0: none.
        start_ns: arrival of the bag's first message.
    """

    def __init__(self, msgtype: str, every: int, start_ns: int):
        self._msgtype, self._every, self._start_ns = msgtype, every, start_ns
        self._looked_at = self._decoded = self._broken = self._undecodable = 0
        self._unknown = ""
        self._at: list[float] = []
        self._reason = ""
        self._sizes: set[tuple[int, int]] = set()
        self._said, self._since_ns = b"", 0
        self._frozen_ns, self._frozen_at_ns = 0, 0

    def take(self, received_ns: int, _: int, raw: bytes | memoryview) -> None:
        """Look at a message; raises ValueError where it is damaged."""
        self._looked_at += 1
        self._watch_for_repetition(received_ns, raw)
        reason = cut_off(raw) if self._msgtype == COMPRESSED_IMAGE else ""
        if not reason and self._every and (self._looked_at - 1) % self._every == 0:
            reason = self._decode(raw)
        if reason:
            self._broken += 1
            self._reason = self._reason or reason
            if len(self._at) < _MOST_PLACES:
                self._at.append((received_ns - self._start_ns) / NS_PER_S)

    def facts(self) -> PictureFacts:
        """Return what was found."""
        return PictureFacts(
            self._looked_at,
            self._decoded,
            self._broken,
            self._at,
            self._reason,
            sorted(self._sizes),
            self._frozen_ns / NS_PER_S,
            (self._frozen_at_ns - self._start_ns) / NS_PER_S if self._frozen_ns else 0.0,
            self._undecodable,
            self._unknown,
        )

    def _decode(self, raw: bytes | memoryview) -> str:
        self._decoded += 1
        try:
            found = messages.decoded(messages.picture(raw, self._msgtype), "it")
        except ContractError:
            self._undecodable += 1
            return "it cannot be decoded"
        except ValueError as error:
            self._unknown = str(error)
            return self._unknown
        self._sizes.add((found.shape[1], found.shape[0]))
        return ""

    def _watch_for_repetition(self, received_ns: int, raw: bytes | memoryview) -> None:
        # Noise makes any two pictures of a working camera differ, and so a few of their bytes.
        said = len(raw).to_bytes(8, "little") + bytes(raw[HEAD_BYTES :: len(raw) // 256 + 1])
        if said != self._said:
            self._said, self._since_ns = said, received_ns
        elif received_ns - self._since_ns > self._frozen_ns:
            self._frozen_ns, self._frozen_at_ns = received_ns - self._since_ns, self._since_ns


def cut_off(raw: bytes | memoryview) -> str:
    """Return what is wrong with the ends of a CompressedImage's picture, empty if nothing is.

    Raises:
        ValueError: the message is damaged.
    """
    cdr = Cdr(raw)
    cdr.header()
    cdr.text()
    data = cdr.byte_sequence()
    if not len(data):
        return "it is empty"
    start, end = bytes(data[:4]), bytes(data[-_ENDING_BYTES:])
    # Some cameras fill their buffers up with zeros.
    if start[:2] == b"\xff\xd8" and not end.rstrip(b"\0").endswith(b"\xff\xd9"):
        return "its JPEG has no end"
    if start == b"\x89PNG" and b"IEND" not in end:
        return "its PNG has no end"
    return ""
