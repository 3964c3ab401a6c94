"""LeRobot's own writer fed from bags, as its users do it; runs in an environment of its own.

`bench.data` starts it there: it imports nothing of this project. Frames are taken at the first
camera's stamps with the last picture and joint state before, decoded and resized by area.
"""

import argparse
import functools
from pathlib import Path

import _data_peer_start  # noqa: F401
import cv2
import numpy as np
from lerobot.datasets import lerobot_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

FPS, AXES = 30, [f"joint {n}" for n in range(6)] + ["finger"]
TOPICS = {"/front/image_raw/compressed": "front", "/wrist/image_raw/compressed": "wrist"}
JOINTS = "/wx250s/joint_states"


def features(size):
    picture = {"dtype": "video", "shape": (size, size, 3), "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": (7,), "names": AXES}
    cameras = {f"observation.images.{name}": picture for name in TOPICS.values()}
    return {**cameras, "observation.state": vector, "action": vector}


def frames(bag, size):
    """Yield frames of one bag."""
    latest = {}
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        wanted = [c for c in reader.connections if c.topic in (*TOPICS, JOINTS)]
        for connection, _, raw in reader.messages(wanted):
            message = reader.deserialize(raw, connection.msgtype)
            if connection.topic == JOINTS:
                latest["state"] = np.asarray(message.position)[[0, 1, 2, 3, 4, 5, 7]]
                continue
            picture = cv2.imdecode(message.data, cv2.IMREAD_COLOR_RGB)
            picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
            latest[TOPICS[connection.topic]] = picture
            if TOPICS[connection.topic] == "wrist" and len(latest) == 3:
                state = latest["state"].astype(np.float32)
                pictures = {f"observation.images.{n}": latest[n] for n in TOPICS.values()}
                yield {**pictures, "observation.state": state, "action": state}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bags", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--crf", type=int, default=30)
    parser.add_argument("--streaming", action="store_true")
    args = parser.parse_args()
    options = {"streaming_encoding": True} if args.streaming else {"image_writer_threads": 8}
    try:
        from lerobot.configs.video import RGBEncoderConfig

        options["rgb_encoder"] = RGBEncoderConfig(crf=args.crf)
    except ImportError:
        encode = lerobot_dataset.encode_video_frames
        lerobot_dataset.encode_video_frames = functools.partial(encode, crf=args.crf)
    dataset = LeRobotDataset.create(
        "bench/data", FPS, features(args.size), root=args.out, use_videos=True, **options
    )
    for bag in args.bags:
        for frame in frames(bag, args.size):
            dataset.add_frame({**frame, "task": "play"})
        dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    main()
