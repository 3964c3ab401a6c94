"""Which fault made the arm hold, and after how long: by the cause that the loop names."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from vla_ros.sim.faults import Fault

# What each fault may make `CommandLoop` hold for. What it names beyond these is nobody's fault.
_GIVES_WAY = ("stall", "overload", "lag", "limp")
CAUSES = {
    "read_minus_pi": ("stale",),
    "read_nan": ("stale",),
    "frozen_joints": ("frozen",),
    "silent joints": ("stale",),
    "delay": ("stale",),
    "clock_jump": ("stale", "clock"),
    "drop_commands": ("frozen", *_GIVES_WAY),
    # A blocked arm stands still to the last count, whatever it is told.
    "stall": ("frozen", *_GIVES_WAY),
    # A joint that sinks takes the arm to where the others push against something; one that does not
    # stays where it is whatever it is told.
    "servo_error": ("frozen", *_GIVES_WAY),
    "torque_lost": ("frozen", *_GIVES_WAY),
    "frozen_camera": ("camera",),
    "no_camera": ("camera",),
    # A process that gets no time finds, when it does, that it has seen nothing for as long.
    "held_up": ("camera", "stale"),
    "second_commander": ("frozen", *_GIVES_WAY),
}
# A fault that is over explains a hold for so much longer [s]: what it made late or moved is there.
_AFTER_S = 0.6
# These take a servo's torque, and that explains a hold for as long as it has none.
_LIMP = ("servo_error", "torque_lost")


def label(fault: Fault) -> str:
    """Return the name under which a fault is booked."""
    return "silent joints" if fault.word == "silent" else fault.name


class HoldBook:
    """Books holds to faults.

    Attributes:
        faults: how many of each began.
        holds: how many holds each cause had that a fault explains, like "stale by delay", or
            that play does: "overload by contact".
        unattributed: the others, by cause.
        unnoticed: faults through which the arm moved from begin to end, by kind: too short, too
            weak, or missed.
        hold_s: for each fault, the times from its begin to its hold [s]: of an arm that moved from
            the begin to the hold, and held for nothing else meanwhile.
    """

    def __init__(self):
        self.faults: Counter[str] = Counter()
        self.holds: Counter[str] = Counter()
        self.unattributed: Counter[str] = Counter()
        self.unnoticed: Counter[str] = Counter()
        self.hold_s: dict[str, list[float]] = defaultdict(list)
        self._active: dict[str, Fault] = {}
        self._over_s: dict[str, float] = {}
        self._moving_since: dict[str, float] = {}
        # What took each servo's torque last, which stays away until a person comes.
        self._took: dict[str, str] = {}

    def change(self, now_s: float, faults: Iterable[Fault], moves: bool) -> None:
        """Note which faults are active from now [s] on, and whether the arm moves."""
        active = {label(fault): fault for fault in faults}
        for name, fault in active.items():
            if name in _LIMP:
                self._took[fault.joint] = name
            if self._active.get(name) is not fault:
                self.faults[name] += 1
                if moves:
                    self._moving_since[name] = fault.start_s
        for name in self._active.keys() - active.keys():
            self._over_s[name] = now_s
            # Any hold, and any rest, would have taken it from here.
            if self._moving_since.pop(name, None) is not None:
                self.unnoticed[name] += 1
        self._active = active

    def rest(self) -> None:
        """Note that the arm is told to rest: nothing that begins to show later is measured."""
        self._moving_since.clear()

    def hold(
        self, now_s: float, cause: str, limp: Iterable[str] = (), touches: bool = False
    ) -> bool:
        """Book a hold that begins at `now_s` [s]; return whether something explains it.

        Args:
            now_s: when.
            cause: what the loop names.
            limp: the servos without torque.
            touches: whether the arm lies against something. That is play, and explains that a
                servo pushes, where no fault does.
        """
        able = [name for name in self._active if cause in CAUSES.get(name, ())]
        able += [
            name
            for name, over_s in self._over_s.items()
            if now_s - over_s <= _AFTER_S and cause in CAUSES.get(name, ())
        ]
        able += [
            self._took[servo]
            for servo in limp
            if servo in self._took and cause in CAUSES[self._took[servo]]
        ]
        pushes = touches and cause in ("stall", "overload")
        if not able and pushes:
            self.holds[f"{cause} by contact"] += 1
        elif not able:
            self.unattributed[cause] += 1
        else:
            # The last that began of those that are active.
            began = {name: fault.start_s for name, fault in self._active.items()}
            name = max(able, key=lambda one: began.get(one, -1.0))
            self.holds[f"{cause} by {name}"] += 1
            if name in self._moving_since:
                self.hold_s[name].append(now_s - self._moving_since[name])
        self._moving_since.clear()
        return bool(able) or pushes
