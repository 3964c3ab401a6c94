"""What was done in a recording, as its episode events say it."""

from dataclasses import dataclass
from pathlib import Path

from training.recordings.source import EPISODE_TOPIC
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import BagError, EpisodeError


@dataclass(frozen=True)
class EpisodeFacts:
    """What was done in a recording.

    Attributes:
        kind: play, demo or policy.
        task: the instruction, empty where there is none.
        success: None where nobody judged.
        reason: how it ended.
    """

    kind: str
    task: str
    success: bool | None
    reason: str


def facts_of_events(path: Path, texts: list[str]) -> EpisodeFacts:
    """Return what the events of one episode say.

    Raises:
        BagError: they are malformed, or not of one episode; `path` is where the bag is.
    """
    try:
        events = [EpisodeEvent.from_json(text) for text in texts]
    except EpisodeError as error:
        raise BagError(f"{EPISODE_TOPIC} in bag {path}: {error}") from None
    starts = [event for event in events if event.event == "start"]
    ends = [event for event in events if event.event == "end"]
    if len(starts) != 1 or len(ends) > 1:
        raise BagError(
            f"bag {path} must hold one episode, got {len(starts)} start and {len(ends)} end "
            f"events on {EPISODE_TOPIC}; leave it out"
        )
    start = starts[0]
    if not ends:
        return EpisodeFacts(start.kind, start.task, None, "no end event")
    return EpisodeFacts(start.kind, start.task, ends[0].success, ends[0].reason)
