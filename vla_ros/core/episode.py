"""What the node that moves the arm and the recorder tell each other, as JSON on string topics."""

import json
from dataclasses import asdict, dataclass, field, fields, replace

from vla_ros.core.errors import EpisodeError

EPISODE_KINDS = ("play", "demo", "policy")
# The reason of an end that a person gave to a recording nobody shall learn from: the bag stays, and
# the converter leaves it out.
DISCARDED = "discarded by the person"
RECORDING_STATES = ("idle", "waiting", "recording", "saved", "discarded", "failed")
# An episode's id becomes a folder's name.
_ID_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def _fields_from_json(cls: type, text: str, optional: tuple[str, ...] = ()) -> dict:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise EpisodeError(f"{cls.__name__} is not JSON ({error}): {text[:80]!r}") from None
    expected = {item.name for item in fields(cls)}
    if not isinstance(data, dict) or not expected - {*optional} <= set(data) <= expected:
        got = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise EpisodeError(f"{cls.__name__} must hold exactly {sorted(expected)}, got {got}")
    return data


def _check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise EpisodeError(f"{name} of {owner} must be one of {', '.join(choices)}, got {value!r}")


def _check_type(owner: str, name: str, value: object, types: tuple[type, ...]) -> None:
    if not isinstance(value, types):
        wanted = " or ".join(t.__name__ for t in types)
        raise EpisodeError(f"{name} of {owner} must be {wanted}, got {value!r}")


@dataclass(frozen=True)
class EpisodeEvent:
    """The start or the end of one episode, said by the node that commands the arm.

    Attributes:
        event: "start" or "end".
        episode_id: name of the episode and of its bag's folder: letters, digits, `-`, `_`, `.`.
        kind: "play", "demo" or "policy".
        task: the instruction; empty for play.
        success: at the end, whether the task was done; None where nobody judged.
        reason: at the end, why it ended; empty at the start.
        settings: what moves the arm: its seed, and the parameters of motion and safety that are
            not the default, by name; a bag of before there were any has none.
    """

    event: str
    episode_id: str
    kind: str
    task: str = ""
    success: bool | None = None
    reason: str = ""
    settings: dict = field(default_factory=dict)

    def __post_init__(self):
        _check_choice("EpisodeEvent", "event", self.event, ("start", "end"))
        _check_choice("EpisodeEvent", "kind", self.kind, EPISODE_KINDS)
        for name in ("episode_id", "task", "reason"):
            _check_type("EpisodeEvent", name, getattr(self, name), (str,))
        _check_type("EpisodeEvent", "success", self.success, (bool, type(None)))
        _check_type("EpisodeEvent", "settings", self.settings, (dict,))
        if not self.episode_id.strip(".") or not set(self.episode_id) <= _ID_CHARACTERS:
            raise EpisodeError(
                "episode_id of EpisodeEvent must be letters, digits, '-', '_' or '.', "
                f"got {self.episode_id!r}"
            )

    @property
    def is_discarded(self) -> bool:
        """Whether a person has said that nobody shall learn from it."""
        return self.event == "end" and self.reason == DISCARDED

    def cut_short(self, reason: str) -> "EpisodeEvent":
        """Return the end of this start that nobody judged."""
        return self.ended(None, reason)

    def ended(self, success: bool | None, reason: str) -> "EpisodeEvent":
        """Return the end of this start."""
        return replace(self, event="end", success=success, reason=reason)

    def to_json(self) -> str:
        """Return the event as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "EpisodeEvent":
        """Return the event of `to_json`'s text; raises EpisodeError on anything else."""
        return cls(**_fields_from_json(cls, text, optional=("settings",)))


@dataclass(frozen=True)
class RecordingState:
    """What the recorder does with an episode.

    Attributes:
        episode_id: the episode it speaks of; empty while idle.
        state: one of `RECORDING_STATES`.
        path: the bag's folder once there is one.
        missing: topics that have not arrived yet, while waiting.
        detail: one sentence where something is wrong.
    """

    episode_id: str = ""
    state: str = "idle"
    path: str = ""
    missing: tuple[str, ...] = ()
    detail: str = ""

    def __post_init__(self):
        _check_choice("RecordingState", "state", self.state, RECORDING_STATES)
        for name in ("episode_id", "path", "detail"):
            _check_type("RecordingState", name, getattr(self, name), (str,))
        _check_type("RecordingState", "missing", self.missing, (tuple, list))
        for topic in self.missing:
            _check_type("RecordingState", "missing", topic, (str,))
        object.__setattr__(self, "missing", tuple(self.missing))

    def to_json(self) -> str:
        """Return the state as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "RecordingState":
        """Return the state of `to_json`'s text; raises EpisodeError on anything else."""
        return cls(**_fields_from_json(cls, text))
