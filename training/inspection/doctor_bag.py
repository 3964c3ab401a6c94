"""One bag, looked through once: each topic's messages in time, and what those hold that matter."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.datasets.side_by_side import Say
from training.inspection.doctor_clock import ClockCheck, of_clock
from training.inspection.doctor_contents import (
    SAMPLED_EVERY,
    SAMPLED_PICTURES,
    JointCheck,
    PictureCheck,
)
from training.inspection.doctor_episode import of_bag, of_episode
from training.inspection.doctor_report import (
    CAMERA,
    COMMANDED,
    JOINTS,
    OTHER,
    POSE,
    BagReport,
    DoctorLimits,
    TopicReport,
)
from training.inspection.doctor_rules import between, of_topic
from training.inspection.doctor_stream import StreamWatch
from training.learning.memory import keep_freed_memory
from training.recordings import messages
from training.recordings.bag_files import Raw
from training.recordings.bags import Bag
from training.recordings.cdr import Cdr, stamp_ns
from training.recordings.messages import CAMERA_INFO, JOINT_STATE, PICTURES, STRING, TRANSFORMS
from training.recordings.recording import TF_STATIC
from training.recordings.source import EPISODE_TOPIC, Source
from vla_ros.core.errors import BagError, VlaError
from vla_ros.core.resample import NS_PER_S

IMAGES = ("all", "sample", "none")
# Types, beside *Stamped, that begin with a header.
_STAMPED = {JOINT_STATE, CAMERA_INFO, *PICTURES} | {
    f"sensor_msgs/msg/{name}"
    for name in ("BatteryState", "Imu", "Joy", "LaserScan", "MagneticField", "PointCloud2", "Range")
}
_STAMPED |= {"nav_msgs/msg/Odometry", "diagnostic_msgs/msg/DiagnosticArray"}
# The episode's topic says a few words; more than so many is no episode.
_MOST_TEXTS = 1000
_SAID_EVERY_BYTES = 1 << 24


def examine(
    path: Path,
    source: Source,
    images: str,
    limits: DoctorLimits,
    threads: int,
    has_plots: bool,
    say: Say,
) -> BagReport:
    """Return what is to be said of the bag; whatever is wrong with it, it is never raised.

    Args:
        path: the bag's folder.
        source: how its topics are called.
        images: of `IMAGES`: which pictures to decode.
        limits: from where on there are findings.
        threads: to unpack the file's chunks and check their sums.
        has_plots: whether to draw a picture of it.
        say: told (path, "bytes", number) as reading goes on.
    """
    # Chunks come and go by the thousand.
    keep_freed_memory()
    try:
        with ThreadPoolExecutor(threads) as pool, Bag(path, source) as bag:
            return _Examination(bag, images, limits).report(pool, say, has_plots)
    except VlaError as error:
        return BagReport.unreadable(str(path), str(error))
    except Exception as error:  # whatever a damaged file makes of a reader
        return BagReport.unreadable(str(path), f"the doctor failed on it ({error!r}); leave it out")


class _Examination:
    """Hands each message to the look at its topic."""

    def __init__(self, bag: Bag, images: str, limits: DoctorLimits):
        self._bag, self._images, self._limits = bag, images, limits
        self._types = bag.types
        self._counts = bag.counts
        self._texts: list[str] = []
        self._looks: dict[str, _Look] = {}
        self._clocks = ClockCheck()
        source = bag.source
        self._task_topic = EPISODE_TOPIC if source.task is None else source.task.topic

    def report(self, pool: ThreadPoolExecutor, say: Say, has_plots: bool) -> BagReport:
        bag, path = self._bag, self._bag.path
        start_ns, end_ns, unsaid = None, 0, 0
        for _, raw in bag.read(bag.topics, (), pool):
            look = self._looks.get(raw.topic)
            if look is None:
                start_ns = raw.received_ns if start_ns is None else start_ns
                look = self._looks[raw.topic] = self._look_at(raw.topic, start_ns)
            look.take(raw, self._clocks)
            end_ns = max(end_ns, raw.received_ns)
            unsaid += len(raw.data)
            if unsaid > _SAID_EVERY_BYTES:
                say(path, "bytes", unsaid)
                unsaid = 0
        self._clocks.take_last()
        if start_ns is None:
            raise BagError(f"bag {path} holds no message; leave it out, or record it again")
        report = BagReport(
            str(path),
            size_bytes=sum(file.stat().st_size for file in path.iterdir() if file.is_file()),
            length_s=max(end_ns - start_ns, 0) / NS_PER_S,
            topics=[
                self._looks[name].report(name, self._clocks.wild[name])
                for name in sorted(self._looks)
            ],
        )
        report.topics.sort(key=lambda topic: topic.role == OTHER)
        self._find(report, start_ns)
        report.judge()
        if has_plots:
            # They take a second to load, and are not always asked for.
            from training.inspection.doctor_plots import plots

            report.picture = plots(report, {name: look.watch for name, look in self._looks.items()})
        return report

    def _look_at(self, topic: str, start_ns: int) -> "_Look":
        msgtype, source = self._types[topic], self._bag.source
        role, check = self._role(topic), None
        if role == JOINTS and msgtype == JOINT_STATE:
            check = JointCheck(source.joints, source.has_kinematics, start_ns)
        elif role == COMMANDED and msgtype == JOINT_STATE and source.commanded is not None:
            check = JointCheck(source.commanded, False, start_ns)
        elif role == CAMERA and self._images != "none" and msgtype in PICTURES:
            check = PictureCheck(msgtype, self._decoded_of(topic), start_ns)
        texts = self._texts if topic == self._task_topic and msgtype == STRING else None
        # Static transforms hold for ever; when they were stamped says nothing.
        is_stamped = topic != TF_STATIC and (
            msgtype in _STAMPED or msgtype.endswith("Stamped") or msgtype == TRANSFORMS
        )
        return _Look(msgtype, role, StreamWatch(start_ns, is_stamped), check, texts)

    def _role(self, topic: str) -> str:
        source = self._bag.source
        if topic == source.joints.topic:
            return JOINTS
        if source.commanded is not None and topic == source.commanded.topic:
            return COMMANDED
        if source.ee_pose is not None and topic == source.ee_pose.topic:
            return POSE
        if topic in source.cameras.values():
            return CAMERA
        before, _, after = source.camera_pattern.partition("{camera}")
        is_camera = source.camera_pattern and topic.startswith(before) and topic.endswith(after)
        return CAMERA if is_camera else OTHER

    def _decoded_of(self, topic: str) -> int:
        """Return one of how many pictures is to be decoded."""
        count = self._counts[topic]
        if self._images == "all":
            return 1
        # A file that does not tell its counts says 1.
        return -(-count // SAMPLED_PICTURES) if count > 1 else SAMPLED_EVERY

    def _find(self, report: BagReport, start_ns: int) -> None:
        for topic in report.topics:
            report.findings += of_topic(topic, self._limits)
        report.findings += between(report.topics, self._limits)
        report.findings += of_clock(self._clocks, report, start_ns, self._limits)
        report.findings += of_bag(self._bag, report, self._recorder_counts(), self._limits)
        report.findings += of_episode(report, self._bag.source, self._texts)

    def _recorder_counts(self) -> dict[str, dict]:
        """Return what this package's recorder counted of each topic; empty where it did not."""
        try:
            found = json.loads(self._bag.facts.get("topics", "{}"))
        except ValueError:
            return {}
        return {k: v for k, v in found.items() if isinstance(v, dict)} if found else {}


class _Look:
    """Takes the messages of one topic."""

    def __init__(
        self,
        msgtype: str,
        role: str,
        watch: StreamWatch,
        check: JointCheck | PictureCheck | None,
        texts: list[str] | None,
    ):
        self.msgtype, self.role, self.watch = msgtype, role, watch
        self._check, self._texts = check, texts
        self._is_transform = msgtype == TRANSFORMS

    def take(self, raw: Raw, clocks: ClockCheck) -> None:
        watch = self.watch
        topic, _, _, data, received_ns = raw
        try:
            stamp = 0
            if watch.is_stamped:
                stamp = _transform_stamp(data) if self._is_transform else stamp_ns(data)
            if self._check is not None:
                self._check.take(received_ns, stamp, data)
            if self._texts is not None and len(self._texts) < _MOST_TEXTS:
                self._texts.append(messages.text(data))
        except ValueError:
            watch.messages += 1
            watch.size_bytes += len(data)
            watch.unreadable += 1
            return
        if self.role != OTHER and watch.is_stamped:
            clocks.take(topic, self.role, received_ns, stamp, watch, len(data))
        else:
            watch.hear(received_ns, stamp, len(data))

    def report(self, name: str, wild_stamps: int) -> TopicReport:
        check = self._check
        return TopicReport(
            name,
            self.msgtype,
            self.role,
            self.watch.report(),
            check.facts() if isinstance(check, JointCheck) else None,
            check.facts() if isinstance(check, PictureCheck) else None,
            wild_stamps,
        )


def _transform_stamp(raw: bytes | memoryview) -> int:
    """Return the stamp of the first of a TFMessage's transforms, 0 where it has none."""
    cdr = Cdr(raw)
    return cdr.header().stamp_ns if cdr.number("I") else 0
