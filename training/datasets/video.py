"""Pictures to mp4 and back, frame by frame, at exact times.

The encoders are royalty-free and not under the GPL: VP9 by libvpx (BSD), AV1 by SVT-AV1 (BSD).
The `av` wheel also carries x264 and x265, which are. They are never called, and `av` is an extra,
for those who want video; pictures as JPEG need none of it.
"""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from vla_ros.core.errors import DatasetError

# A key frame every second picture, as LeRobot has it: random access decodes two pictures at most.
GROUP = {"g": "2"}
# Encoder and its options: one thread, so that the bytes are the same everywhere.
CODECS = {
    "vp9": (
        "libvpx-vp9",
        {**GROUP, "deadline": "realtime", "cpu-used": "8", "crf": "12", "b": "0", "threads": "1"},
    ),
    "av1": ("libsvtav1", {**GROUP, "preset": "10", "crf": "18", "svtav1-params": "lp=1"}),
}
# Measured on pictures of the simulator at 224 px: a third of AV1's time at a better quality, and
# half of a JPEG's bytes, where AV1 needs a third.
DEFAULT_CODEC = "vp9"
PIXEL_FORMAT = "yuv420p"
# SVT-AV1 has no other way to be told that its settings are not for standard error.
SILENT = ("SVT_LOG", "1")


def require_av():
    """Return the package av; raises DatasetError where it is not installed."""
    try:
        import av
        import av.codec
        import av.error
    except ImportError:
        raise DatasetError(
            "video needs the package av, which is not installed; pip install '.[av]' in the "
            "checkout, or choose pictures as jpeg"
        ) from None
    return av


def require_codec(codec: str) -> None:
    """Raise DatasetError unless `codec` is known and this FFmpeg can write it."""
    if codec not in CODECS:
        raise DatasetError(f"codec {codec!r} is unknown; choose one of {', '.join(CODECS)}")
    encoder, _ = CODECS[codec]
    if encoder not in require_av().codec.codecs_available:
        raise DatasetError(
            f"this installation of av cannot write {codec}: it has no {encoder}; install av from "
            "its wheel, or choose pictures as jpeg"
        )


def write_video(path: Path, pictures: Iterable[np.ndarray], codec: str, fps: int) -> int:
    """Write (H, W, 3) uint8 RGB pictures, one every 1/fps s from 0; return how many.

    Even sides are needed: a picture of odd sides is refused.

    Raises:
        DatasetError: the codec cannot be written, or odd sides.
    """
    require_codec(codec)
    av = require_av()
    os.environ.setdefault(*SILENT)
    encoder, options = CODECS[codec]
    count = 0
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(encoder, rate=fps, options=dict(options))
        stream.pix_fmt = PIXEL_FORMAT
        for picture in pictures:
            height, width = picture.shape[:2]
            if height % 2 or width % 2:
                raise DatasetError(
                    f"video needs even sides, got {width} x {height} px; choose another "
                    "--image-size, or pictures as jpeg"
                )
            if count == 0:
                stream.width, stream.height = width, height
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = count, Fraction(1, fps)
            container.mux(stream.encode(frame))
            count += 1
        if count:
            container.mux(stream.encode())
    return count


def count_pictures(path: Path) -> int:
    """Return how many pictures the header of a video file promises; 0 where there is no header."""
    av = require_av()
    try:
        with av.open(str(path)) as container:
            return container.streams.video[0].frames
    except (OSError, ValueError, IndexError, av.error.FFmpegError):
        return 0


def join_videos(path: Path, parts: list[Path], fps: int) -> int:
    """Copy the streams of `parts`, written alike by `write_video`, one after the other.

    Returns how many pictures they are.
    """
    av = require_av()
    start = 0
    with av.open(str(path), "w", format="mp4") as container:
        out = None
        for part in parts:
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                out = out or container.add_stream_from_template(stream, opaque=True)
                start += _copy(source, stream, container, out, start, fps)
    return start


def _copy(source, stream, container, out, start: int, fps: int) -> int:
    """Copy packets, the first at `start` frames, and return how many frames they were."""
    count = 0
    for packet in source.demux(stream):
        if packet.pts is None:  # the flush at the end
            continue
        number = round(packet.pts * stream.time_base * fps)
        packet.time_base = Fraction(1, fps)
        packet.pts = packet.dts = start + number
        packet.duration = 1
        packet.stream = out
        container.mux(packet)
        count += 1
    return count


def read_video(path: Path, first_s: float = 0.0) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time [s], picture (H, W, 3) uint8 RGB) from the first at or after `first_s` on.

    Raises:
        DatasetError: the file is missing or damaged, or has no video.
    """
    av = require_av()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            if first_s > 0:
                container.seek(int(first_s / stream.time_base), stream=stream)
            tolerance_s = 0.25 / float(stream.average_rate or 30)
            for frame in container.decode(stream):
                time_s = float(frame.pts * stream.time_base)
                if time_s >= first_s - tolerance_s:
                    yield time_s, frame.to_ndarray(format="rgb24")
    except (OSError, ValueError, IndexError, av.error.FFmpegError) as error:
        raise DatasetError(
            f"video {path} cannot be read ({type(error).__name__}: {error}); "
            "get the file again, or leave this dataset out"
        ) from error


def stream_info(side_px: int, codec: str, fps: int) -> dict:
    """Return what info.json says of a video column."""
    return {
        "video.height": side_px,
        "video.width": side_px,
        "video.codec": codec,
        "video.pix_fmt": PIXEL_FORMAT,
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }
