"""What the doctor says of a bag: findings with what to do, the verdict, the limits behind it."""

from dataclasses import asdict, dataclass, field, fields

from training.datasets.frames import MaxAge
from training.inspection.doctor_stream import StreamReport
from vla_ros.core.thresholds import threshold

NOTE, WARNING, ERROR = "note", "warning", "error"
GOOD, USABLE, UNUSABLE, UNREADABLE = "good", "usable with warnings", "unusable", "unreadable"
# Exit code of each verdict; that of the command is the greatest.
EXIT_CODES = {GOOD: 0, USABLE: 1, UNUSABLE: 2, UNREADABLE: 2}
# What a topic is to a dataset.
JOINTS, COMMANDED, CAMERA, POSE, OTHER = "joints", "commanded", "camera", "tool pose", ""
_AGE = MaxAge()


@dataclass(frozen=True)
class DoctorLimits:
    """What makes a warning, and what makes a bag unusable; see each field's metadata."""

    image_gap_s: float = threshold(
        _AGE.image_s, 0, 60, "s", "warning: a gap of pictures, as long as convert lets one stand in"
    )
    joints_gap_s: float = threshold(
        _AGE.joints_s, 0, 60, "s", "warning: a gap of joint states or tool poses, likewise"
    )
    commanded_gap_s: float = threshold(
        _AGE.commanded_s, 0, 60, "s", "warning: a gap of commanded joints, likewise"
    )
    gap_share: float = threshold(
        0.5, 0, 1, "1", "unusable: share of a needed stream's time within such gaps"
    )
    jitter_share: float = threshold(
        0.25, 0, 10, "1", "warning: jitter (half of the 5-95 % spread of intervals) of a period"
    )
    skew_s: float = threshold(
        0.1, 0, 60, "s", "warning: delay from stamp to arrival against that of the joint states"
    )
    far_skew_s: float = threshold(1.0, 0, 3600, "s", "unusable: the same")
    drift_s: float = threshold(0.05, 0, 60, "s", "warning: growth of that delay over the bag")
    far_drift_s: float = threshold(0.5, 0, 3600, "s", "unusable: the same")
    overlap_share: float = threshold(
        0.8, 0, 1, "1", "warning: share of the bag in which all needed streams run (0: unusable)"
    )
    refused_share: float = threshold(
        0.2, 0, 1, "1", "unusable: share of joint states that no arm can have (any: warning)"
    )
    broken_share: float = threshold(
        0.2, 0, 1, "1", "unusable: share of pictures that are broken (any: warning)"
    )
    frozen_s: float = threshold(5.0, 0, 3600, "s", "warning: the same picture for so long")
    late_share: float = threshold(
        0.01, 0, 1, "1", "warning: share of messages that the recorder counted as late"
    )
    length_s: float = threshold(1.0, 0, 3600, "s", "unusable: a shorter recording")

    def gap_s(self, role: str) -> float:
        """Return the gap [s] that a stream of this role may have."""
        if role == CAMERA:
            return self.image_gap_s
        return self.commanded_gap_s if role == COMMANDED else self.joints_gap_s


def limits_text(limits: DoctorLimits) -> str:
    """Return a line for each limit."""
    return "\n".join(
        f"  {item.name:<16} {getattr(limits, item.name):>5g} "
        f"{item.metadata['unit'].replace('1', ''):<2} {item.metadata['description']}"
        for item in fields(limits)
    )


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        code: its kind, for programs.
        severity: `NOTE`, `WARNING` or `ERROR`, which makes the bag unusable.
        topic: empty where it is about the whole bag.
        text: what and where.
        remedy: what to do.
        places: (start, length) since the bag's first message [s], at most 200.
    """

    code: str
    severity: str
    topic: str
    text: str
    remedy: str
    places: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class JointFacts:
    """Joint states that cannot be used.

    Attributes:
        refused: how many, by reason.
        places: when [s], the first 200.
        missing: names that were wanted and not there.
    """

    refused: dict[str, int]
    places: list[float]
    missing: list[str]


@dataclass(frozen=True)
class PictureFacts:
    """Pictures of one camera.

    Attributes:
        looked_at: how many had their first and last bytes looked at.
        decoded: how many of them were decoded.
        broken: how many are empty, cut off or cannot be decoded.
        undecodable: how many of those that were decoded cannot be.
        unknown: why convert can read none of them, empty where it can.
        places: when [s], the first 200.
        reason: of the first broken one.
        sizes: (width, height) of those that were decoded.
        frozen_s, frozen_at_s: the longest time of one picture, and when.
    """

    looked_at: int
    decoded: int
    broken: int
    places: list[float]
    reason: str
    sizes: list[tuple[int, int]]
    frozen_s: float
    frozen_at_s: float
    undecodable: int = 0
    unknown: str = ""


@dataclass(frozen=True)
class TopicReport:
    """One topic of one bag.

    Attributes:
        name, type: of ROS.
        role: what it is to a dataset, one of those above.
        stream: its messages in time.
        joints, pictures: where it holds such.
        wild_stamps: messages whose stamps are wrong by themselves; the stream has them among those
            without stamps.
    """

    name: str
    type: str
    role: str
    stream: StreamReport
    joints: JointFacts | None = None
    pictures: PictureFacts | None = None
    wild_stamps: int = 0


@dataclass
class BagReport:
    """One bag.

    Attributes:
        path: its folder.
        verdict: `GOOD`, `USABLE`, `UNUSABLE` or `UNREADABLE`.
        reason: why it is not good, the worst first; empty where it is.
        size_bytes: of its files.
        length_s: from the first message to the last.
        kind, task, success: of the episode, empty and None where nothing tells.
        topics: by name, those that a dataset needs first.
        findings: the worst first.
        picture: its plots as PNG, empty where none were asked for; no part of the JSON.
    """

    path: str
    verdict: str = GOOD
    reason: str = ""
    size_bytes: int = 0
    length_s: float = 0.0
    kind: str = ""
    task: str = ""
    success: bool | None = None
    topics: list[TopicReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    picture: bytes = b""

    @classmethod
    def unreadable(cls, path: str, why: str) -> "BagReport":
        """Return the report of a bag that cannot be looked into."""
        return cls(path, UNREADABLE, why)

    def judge(self) -> None:
        """Set the verdict by the findings, and sort them."""
        order = [ERROR, WARNING, NOTE]
        self.findings.sort(key=lambda found: order.index(found.severity))
        grave = [found for found in self.findings if found.severity != NOTE]
        if not grave:
            return
        self.verdict = UNUSABLE if grave[0].severity == ERROR else USABLE
        worst = [found for found in grave if found.severity == grave[0].severity]
        self.reason = worst[0].text + (f" (and {len(grave) - 1} more)" if len(grave) > 1 else "")

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        found = asdict(self)
        del found["picture"]
        return found
