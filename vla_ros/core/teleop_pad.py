"""Which control of a gamepad means what: numbers of a sensor_msgs/Joy in, what is asked out.

A control is written as `axis 4`, `-axis 4` (reversed), `button 5`, `buttons 13 14` (two as one
axis: the first ahead, the second back) or `none`. Axes are positive to the left and up, as
ros-drivers' `joy` publishes them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vla_ros.core.errors import SafetyError

# In the order of a twist: linear x, y, z, then angular x, y, z.
DIRECTIONS = ("forward", "left", "up", "roll", "pitch", "yaw")
# Held for as long as they shall mean something.
HELD = ("dead_man", "slow", "home")
# Pressed once, each time.
PRESSED = ("gripper", "frame", "record", "failed", "discard", "redo")
CONTROLS = (*DIRECTIONS, *HELD, *PRESSED)
# No pad has more axes or buttons.
_MOST = 64


@dataclass(frozen=True)
class Control:
    """One axis, or one or two buttons; none where both are empty.

    Attributes:
        axis: its number, or None.
        sign: 1, or -1 for a reversed axis.
        buttons: their numbers: the first counts 1, the second -1.
    """

    axis: int | None = None
    sign: float = 1.0
    buttons: tuple[int, ...] = ()

    def value(self, axes: Sequence[float], buttons: Sequence[int]) -> float:
        """Return -1 to 1, 0 where there is none.

        Raises:
            SafetyError: the message has no such axis or button, or no number there.
        """
        if self.axis is not None:
            value = self.sign * float(_at(axes, self.axis, "axis", "axes"))
            if not math.isfinite(value):
                raise SafetyError(f"axis {self.axis} of the pad is {value}, which is no number")
            return min(max(value, -1.0), 1.0)
        pressed = [bool(_at(buttons, number, "button", "buttons")) for number in self.buttons]
        return float(pressed[0]) - float(pressed[1:] == [True]) if pressed else 0.0


def _at(values: Sequence[float], number: int, what: str, all_of_them: str) -> float:
    if number >= len(values):
        raise SafetyError(
            f"the pad's message has {len(values)} {all_of_them} and no {what} {number}: is it "
            "plugged in, and is joy.pad the right one?"
        )
    return values[number]


def parse_control(name: str, text: str) -> Control:
    """Return the control that a text names.

    Args:
        name: what it is for, one of `CONTROLS`.
        text: as the module says.

    Raises:
        SafetyError: it names none, or one that cannot be what it is for.
    """
    words = text.split()
    numbers = [int(w) for w in words[1:] if w.isascii() and w.isdigit() and int(w) < _MOST]
    kind = words[0] if words and len(numbers) == len(words) - 1 else ""
    if kind == "none" and not numbers and name != "dead_man":
        return Control()
    is_direction = name in DIRECTIONS
    if kind in ("axis", "-axis") and len(numbers) == 1 and is_direction:
        return Control(numbers[0], -1.0 if kind == "-axis" else 1.0)
    if kind == "buttons" and len(set(numbers)) == 2 and len(numbers) == 2 and is_direction:
        return Control(buttons=tuple(numbers))
    if kind == "button" and len(numbers) == 1 and not is_direction:
        return Control(buttons=tuple(numbers))
    legal = "'axis 4', '-axis 4', 'buttons 13 14' or 'none'" if is_direction else "'button 4'"
    legal += " or 'none'" if not is_direction and name != "dead_man" else ""
    raise SafetyError(f"joy.{name} must be {legal}, got {text!r}")


# By ros-drivers' names: `game_controller_node` gives every pad that SDL knows one order, joy_node
# the order of the pad's own driver on Linux (xpad, hid-playstation).
_STICKS = {"forward": "axis 1", "left": "axis 0"}
PADS = {
    "standard": _STICKS
    | {"up": "axis 3", "yaw": "axis 2", "pitch": "buttons 12 11", "roll": "buttons 14 13"}
    | {"dead_man": "button 9", "slow": "button 10", "gripper": "button 0", "frame": "button 2"}
    | {"home": "button 3", "record": "button 6", "discard": "button 4", "redo": "button 1"}
    | {"failed": "none"},
    "xbox": _STICKS
    | {"up": "axis 4", "yaw": "axis 3", "pitch": "-axis 7", "roll": "-axis 6"}
    | {"dead_man": "button 4", "slow": "button 5", "gripper": "button 0", "frame": "button 2"}
    | {"home": "button 3", "record": "button 7", "discard": "button 6", "redo": "button 1"}
    | {"failed": "none"},
    "ps4": _STICKS
    | {"up": "axis 4", "yaw": "axis 3", "pitch": "-axis 7", "roll": "-axis 6"}
    | {"dead_man": "button 4", "slow": "button 5", "gripper": "button 0", "frame": "button 3"}
    | {"home": "button 2", "record": "button 9", "discard": "button 8", "redo": "button 1"}
    | {"failed": "none"},
}


@dataclass(frozen=True)
class PadState:
    """What one message of a pad says.

    Attributes:
        directions: (6,) -1 to 1, in the order of `DIRECTIONS`.
        dead_man, slow, home: whether each is held.
        pressed: those of `PRESSED` that are down.
    """

    directions: tuple[float, ...]
    dead_man: bool
    slow: bool
    home: bool
    pressed: frozenset[str]


@dataclass(frozen=True)
class Pad:
    """Where the controls of one pad are; made by `pad_of`.

    Attributes:
        controls: one for each of `CONTROLS`.
    """

    controls: dict[str, Control]

    def read(self, axes: Sequence[float], buttons: Sequence[int]) -> PadState:
        """Return what a message says; raises SafetyError where it lacks what is asked for."""
        value = {name: self.controls[name].value(axes, buttons) for name in CONTROLS}
        dead_man, slow, home = (value[name] > 0.0 for name in HELD)
        pressed = frozenset(name for name in PRESSED if value[name] > 0.0)
        directions = tuple(value[name] for name in DIRECTIONS)
        return PadState(directions, dead_man, slow, home, pressed)

    def without_motion(self) -> "Pad":
        """Return the pad with only those buttons that speak of recordings: a pedal may do."""
        words = ("record", "failed", "discard", "redo")
        return Pad({name: self.controls[name] if name in words else Control() for name in CONTROLS})


@dataclass(frozen=True)
class PadChoice:
    """Which pad, and what shall be elsewhere on it: texts of `parse_control`, empty for the pad's.

    Attributes:
        pad: one of `PADS`.
    """

    pad: str = "xbox"
    forward: str = ""
    left: str = ""
    up: str = ""
    roll: str = ""
    pitch: str = ""
    yaw: str = ""
    dead_man: str = ""
    slow: str = ""
    home: str = ""
    gripper: str = ""
    frame: str = ""
    record: str = ""
    failed: str = ""
    discard: str = ""
    redo: str = ""


def pad_of(choice: PadChoice) -> Pad:
    """Return the pad that a choice names.

    Raises:
        SafetyError: it names no pad, no control, or one control for two purposes.
    """
    if choice.pad not in PADS:
        raise SafetyError(f"joy.pad must be one of {', '.join(PADS)}, got {choice.pad!r}")
    texts = {name: getattr(choice, name) or PADS[choice.pad][name] for name in CONTROLS}
    controls = {name: parse_control(name, text) for name, text in texts.items()}
    taken: dict[tuple[str, int], str] = {}
    for name, control in controls.items():
        places = [("button", number) for number in control.buttons]
        places += [] if control.axis is None else [("axis", control.axis)]
        for place in places:
            other = taken.setdefault(place, name)
            if other != name:
                raise SafetyError(
                    f"joy.{other} and joy.{name} are both {place[0]} {place[1]} of pad "
                    f"{choice.pad}; give one of them another"
                )
    return Pad(controls)
