"""What the recorder counts, topic by topic, for /diagnostics and for the bag."""

import json
from dataclasses import asdict

from vla_ros.core.topic_watch import Silence, TopicCounts, TopicWatch, header_stamp_ns
from vla_ros.nodes.diagnostics import ERROR, OK, WARN, Diagnostics
from vla_ros.nodes.episode_bag import Topic
from vla_ros.nodes.recorder_topics import starts_with_header

# More late messages than this share are worth a warning.
_LATE_SHARE = 0.01
# The watch comes five times a second; a longer break means that messages wait in the queues.
_HELD_UP_NS = 1_000_000_000


class TopicReport:
    """Counts the topics of the running bag, and tells which required one is silent.

    Args:
        required: topics that must arrive all the time.
        optional: topics that may.
        late_s: see `TopicWatch`.
        silent_s: see `Silence`.
        simulated_time: whether stamps run at a speed of their own, which no wall clock measures.
    """

    def __init__(
        self,
        required: list[Topic],
        optional: list[Topic],
        late_s: float,
        silent_s: float,
        simulated_time: bool = False,
    ):
        topics = required + optional
        self._required = tuple(topic.name for topic in required)
        self._stamped = {topic.name for topic in topics if starts_with_header(topic.type)}
        self._names = [topic.name for topic in topics]
        self._late_s = late_s
        self._simulated_time = simulated_time
        self._silence = Silence(silent_s)
        self._silent: list[str] = []
        self._mismatches: dict[str, str] = {}
        self._looked_ns: int | None = None
        self.begin()

    def begin(self) -> None:
        """Count from zero, for a new bag."""
        self._watches = {
            name: TopicWatch(name in self._required, self._late_s) for name in self._names
        }

    def hear(self, topic: str, data: bytes, node_ns: int, wall_ns: int) -> None:
        """Note a message that arrived."""
        stamp_ns = header_stamp_ns(data) if topic in self._stamped else None
        steady_ns = None if self._simulated_time else wall_ns
        self._watches[topic].hear(node_ns, stamp_ns, steady_ns)
        self._silence.hear(topic, wall_ns, node_ns)

    def lose(self, topic: str, count: int) -> None:
        """Note messages that the middleware lost."""
        self._watches[topic].lose(count)

    def mismatch(self, topic: str, policy: str) -> str:
        """Note a publisher whose `policy` lets nothing of it arrive; return that in a sentence."""
        self._mismatches[topic] = (
            f"a publisher of {topic} offers a {policy} that the recorder cannot take; have it "
            "publish reliably, and what is latched with transient local durability"
        )
        return self._mismatches[topic]

    def remedy(self, topics: set[str]) -> str:
        """Return what to do when nothing arrives on the topics."""
        known = [self._mismatches[name] for name in sorted(topics & {*self._mismatches})]
        return "; ".join(known) or "check that the arm driver and the cameras run"

    def look(self, node_ns: int, wall_ns: int) -> list[str]:
        """Return the required topics that are silent; to be called several times a second."""
        if self._looked_ns is not None and wall_ns - self._looked_ns > _HELD_UP_NS:
            self._silence.excuse(wall_ns, node_ns)
        self._looked_ns = wall_ns
        self._silent = self._silence.silent(self._required, wall_ns, node_ns)
        return self._silent

    def counts(self) -> dict[str, TopicCounts]:
        """Return the counts of the topics that had messages or lost some."""
        counts = {name: watch.counts() for name, watch in self._watches.items()}
        return {name: c for name, c in counts.items() if c.received or c.lost}

    def to_json(self) -> str:
        """Return the counts for the bag's metadata."""
        return json.dumps({name: _rounded(asdict(c)) for name, c in self.counts().items()})

    def publish(self, diagnostics: Diagnostics, wall_ns: int) -> None:
        """Set the status of every topic."""
        counts = self.counts()
        for name in self._names:
            if name not in self._required and name not in counts:
                continue
            age_s = self._silence.age_s(name, wall_ns)
            level, message = self._judge(name, counts.get(name, TopicCounts()), age_s)
            values = _rounded(asdict(counts.get(name, TopicCounts())))
            values["age_s"] = "" if age_s is None else round(age_s, 1)
            diagnostics.set(name, level, message, values)

    def _judge(self, name: str, counts: TopicCounts, age_s: float | None) -> tuple[int, str]:
        if name in self._silent:
            return ERROR, f"silent for {age_s:.1f} s"
        if age_s is None:
            return WARN, self._mismatches.get(name, "no message yet")
        faults = [
            f"{getattr(counts, field)} {field.replace('_', ' ')}"
            for field in ("lost", "missing", "out_of_order", "duplicates", "clock_jumps")
            if getattr(counts, field)
        ]
        if counts.late > _LATE_SHARE * counts.received:
            faults.append(f"{counts.late} late")
        if faults:
            return WARN, f"{', '.join(faults)} of {counts.received}"
        return OK, f"{counts.received} received"


def _rounded(values: dict[str, object]) -> dict[str, object]:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}
