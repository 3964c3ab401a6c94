"""Faults of an arm, its bus and its cameras, as text: what, from when, for how long.

A fault is written NAME@START_S:DURATION_S[:ARG], like "delay@10:3:0.5". "random@0:36000:60,7"
stands for faults drawn with seed 7, 60 an hour on average. Pure and deterministic: the same text
gives the same faults. `injection.py` does them to a world.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from vla_ros.core.errors import VlaError
from vla_ros.sim.robot_info import JOINTS
from vla_ros.sim.servo import ERROR_BITS

# What the word of frozen_joints may be: the same numbers with fresh stamps, or nothing at all.
FROZEN_WORDS = ("same", "silent")
_MOST_RANDOM_FAULTS = 100_000
_HAIR_S = 1e-9


class FaultError(VlaError):
    """A fault's text cannot be understood."""


@dataclass(frozen=True)
class FaultKind:
    """What a fault's ARG may be, and what the random mode draws.

    Attributes:
        meaning: one line for the documentation.
        number: (default, low, high) of a number, None where ARG holds none.
        unit: of the number.
        joint: whether ARG names a joint.
        words: what ARG, or its part after the joint, may be; the first is the default.
        random_s: shortest and longest duration of a random one [s].
        random_number: smallest and largest number of a random one.
    """

    meaning: str
    number: tuple[float, float, float] | None = None
    unit: str = ""
    joint: bool = False
    words: tuple[str, ...] = ()
    random_s: tuple[float, float] = (0.05, 3.0)
    random_number: tuple[float, float] = (0.0, 0.0)


FAULTS = {
    "read_minus_pi": FaultKind("each read fails: every joint at -pi, as xs_sdk does by default"),
    "read_nan": FaultKind("each read fails: NaN, as xs_sdk does with read_failure_behavior 1"),
    "frozen_joints": FaultKind(
        "joint states repeat the same numbers with fresh stamps; silent: none come at all",
        words=FROZEN_WORDS,
    ),
    "delay": FaultKind(
        "joint states arrive this much late", (0.5, 0.0, 60.0), "s", random_number=(0.1, 1.0)
    ),
    "drop_commands": FaultKind(
        "this share of the command messages is lost", (0.5, 0.0, 1.0), random_number=(0.05, 0.9)
    ),
    "stall": FaultKind("a joint is blocked", joint=True, random_s=(0.5, 6.0)),
    "servo_error": FaultKind(
        "a servo reports a hardware error and drops its torque until it is rebooted after the end",
        joint=True,
        words=("overload", *(name for name in ERROR_BITS if name != "overload")),
    ),
    "torque_lost": FaultKind(
        "a servo is without torque, and says nothing, until torque is enabled after the end",
        joint=True,
    ),
    "warm": FaultKind(
        "a servo is so warm that the arm has to rest; hot: that it has to stop",
        joint=True,
        words=("warm", "hot"),
    ),
    "clock_jump": FaultKind(
        "the driver's stamps jump by this, and back at the end",
        (1.0, -1e6, 1e6),
        "s",
        random_number=(-5.0, 5.0),
    ),
    "frozen_camera": FaultKind("pictures keep coming and do not change"),
    "no_camera": FaultKind("no pictures come"),
}
RANDOM = "random"


@dataclass(frozen=True)
class Fault:
    """One fault, active at start_s <= t < start_s + duration_s [s].

    Attributes:
        name: one of FAULTS.
        start_s, duration_s: when [s]; the duration may be infinite.
        number, joint, word: what ARG said, or its default; 0 and "" where the fault has none.
    """

    name: str
    start_s: float
    duration_s: float
    number: float = 0.0
    joint: str = ""
    word: str = ""

    @property
    def end_s(self) -> float:
        """The first moment at which it is over [s]."""
        return self.start_s + self.duration_s

    def __str__(self) -> str:
        kind = FAULTS[self.name]
        parts = [repr(self.number)] if kind.number else []
        parts += [part for part in (self.joint, self.word) if part]
        argument = f":{','.join(parts)}" if parts else ""
        return f"{self.name}@{self.start_s!r}:{self.duration_s!r}{argument}"


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Return the faults that one text stands for: one, or as many as a random one draws.

    Raises:
        FaultError: the text is none, or a name or number in it is not legal.
    """
    name, at, rest = text.strip().partition("@")
    if not at or (name not in FAULTS and name != RANDOM):
        raise FaultError(
            f"fault {text!r} is not NAME@START_S:DURATION_S[:ARG] with a NAME out of "
            f"{', '.join((*FAULTS, RANDOM))}; write it like delay@10:3:0.5"
        )
    start, _, rest = rest.partition(":")
    duration, _, argument = rest.partition(":")
    start_s = _number(text, "START_S", start, 0.0, 1e9)
    duration_s = _number(text, "DURATION_S", duration, 0.0, math.inf)
    if duration_s == 0.0:
        raise FaultError(f"fault {text!r} has DURATION_S 0; give it some time, or inf")
    if name == RANDOM:
        return _random_faults(text, start_s, duration_s, argument)
    return (Fault(name, start_s, duration_s, **_argument(text, name, argument)),)


def _number(text: str, what: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise FaultError(
            f"fault {text!r} has {what} {value!r}, expected a number from {low:g} to {high:g}"
        )
    return number


def _argument(text: str, name: str, argument: str) -> dict:
    """Return the fields of Fault that its ARG, or the lack of one, stands for."""
    kind = FAULTS[name]
    if kind.number is not None:
        default, low, high = kind.number
        return {"number": _number(text, "ARG", argument, low, high) if argument else default}
    # A joint comes first, a word behind it or alone.
    parts = [part.strip() for part in argument.split(",")] if argument else []
    expected = [("joint", JOINTS)] if kind.joint else []
    expected += [("word", kind.words)] if kind.words else []
    if len(parts) > len(expected):
        takes = " and ".join(field for field, _ in expected) or "none"
        raise FaultError(f"fault {text!r} has ARG {argument!r}, but {name} takes {takes}")
    found = {}
    for place, (field, legal) in enumerate(expected):
        value = parts[place] if place < len(parts) else legal[0]
        if value not in legal:
            raise FaultError(
                f"fault {text!r} has {field} {value!r}, expected one of {', '.join(legal)}"
            )
        found[field] = value
    return found


def _random_faults(
    text: str, start_s: float, duration_s: float, argument: str
) -> tuple[Fault, ...]:
    """Return faults of every kind at random times; ARG is "PER_HOUR" or "PER_HOUR,SEED"."""
    per_hour, _, seed_text = argument.partition(",")
    rate = _number(text, "faults per hour", per_hour, 1e-3, 36_000.0)
    seed = _number(text, "seed", seed_text or "0", 0, 2**31 - 1)
    if not rate * duration_s / 3600.0 <= _MOST_RANDOM_FAULTS:
        raise FaultError(
            f"fault {text!r} would draw more than {_MOST_RANDOM_FAULTS} faults; shorten it"
        )
    random = np.random.default_rng(int(seed))
    names = tuple(FAULTS)
    faults, at_s = [], start_s
    while True:
        at_s += float(random.exponential(3600.0 / rate))
        if at_s >= start_s + duration_s:
            return tuple(faults)
        name = names[random.integers(len(names))]
        kind = FAULTS[name]
        # All are drawn, so that one fault's kind does not shift the draws of the next.
        lasts_s = float(random.uniform(*kind.random_s))
        number = float(random.uniform(*kind.random_number))
        joint = JOINTS[random.integers(len(JOINTS))]
        word = random.integers(max(1, len(kind.words)))
        faults.append(
            Fault(
                name,
                at_s,
                lasts_s,
                number,
                joint if kind.joint else "",
                kind.words[word] if kind.words else "",
            )
        )


class FaultSchedule:
    """Which faults are active; asked in the order of time.

    Args:
        faults: what is known from the start.
    """

    def __init__(self, faults: Iterable[Fault] = ()):
        self._coming = sorted(faults, key=lambda fault: fault.start_s, reverse=True)
        self._active: tuple[Fault, ...] = ()

    def add(self, faults: Iterable[Fault], now_s: float) -> None:
        """Add faults whose start counts from `now_s`."""
        shifted = [replace(fault, start_s=fault.start_s + now_s) for fault in faults]
        self._coming = sorted(
            [*self._coming, *shifted], key=lambda fault: fault.start_s, reverse=True
        )

    def active(self, now_s: float) -> tuple[Fault, ...]:
        """Return what is active at `now_s` [s], which never goes back.

        The same tuple is returned for as long as nothing begins or ends.
        """
        # A sum of seconds is off by less than this, and must not be a tick late for it.
        now_s += _HAIR_S
        begun = []
        while self._coming and self._coming[-1].start_s <= now_s:
            begun.append(self._coming.pop())
        if begun or any(fault.end_s <= now_s for fault in self._active):
            self._active = tuple(fault for fault in (*self._active, *begun) if fault.end_s > now_s)
        return self._active
