"""The parameters `joy.*` of demo_node that name a pad and its controls."""

from dataclasses import dataclass, fields

from vla_ros.core.teleop import FRAMES
from vla_ros.core.teleop_pad import PADS, Pad, PadChoice, pad_of
from vla_ros.nodes.params import parameter

_STICK = "'axis 4', '-axis 4' (reversed), 'buttons 13 14' (ahead, back) or 'none'; empty: the pad's"
_BUTTON = "'button 4' or 'none'; empty: the pad's"


@dataclass(frozen=True)
class JoyParameters:
    """Which pad, and what is elsewhere on it than `core.teleop_pad.PADS` says."""

    topic: str = parameter("/joy", "Topic of the pad's sensor_msgs/Joy.")
    start_frame: str = parameter("base", "Whose axes the sticks mean at first.", choices=FRAMES)
    pad: str = parameter("xbox", "Which pad, or standard: any, by game_controller_node.",
                         choices=tuple(PADS))  # fmt: skip
    forward: str = parameter("", f"Tool along x: {_STICK}.")
    left: str = parameter("", f"Tool along y: {_STICK}.")
    up: str = parameter("", f"Tool along z: {_STICK}.")
    roll: str = parameter("", f"Tool about x: {_STICK}.")
    pitch: str = parameter("", f"Tool about y: {_STICK}.")
    yaw: str = parameter("", f"Tool about z: {_STICK}.")
    dead_man: str = parameter("", "Held for as long as the arm may move: 'button 4'; empty: pad's.")
    slow: str = parameter("", f"Slow while held: {_BUTTON}.")
    home: str = parameter("", f"To the ready pose while held: {_BUTTON}.")
    gripper: str = parameter("", f"Closes or opens the gripper: {_BUTTON}.")
    frame: str = parameter("", f"Changes between the two frames: {_BUTTON}.")
    record: str = parameter("", f"Starts a recording, or keeps the running one: {_BUTTON}.")
    failed: str = parameter("", f"Keeps the running one as a failure: {_BUTTON}.")
    discard: str = parameter("", f"Discards the running one: {_BUTTON}.")
    redo: str = parameter("", f"Discards the running one and starts the next: {_BUTTON}.")

    def __post_init__(self):
        self.controls()

    def controls(self) -> Pad:
        """Return the pad; raises SafetyError where a text names no control, or two share one."""
        texts = {item.name: getattr(self, item.name) for item in fields(PadChoice)}
        return pad_of(PadChoice(**texts))
