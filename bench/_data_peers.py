"""Environments of the peers that `bench.data --peers` measures: made once, outside the checkout.

LeRobot 0.6.1 asks for Python 3.12 for a few type statements only; where this Python is older, they
are rewritten in its environment, which changes no behaviour. torch's pin is this package's own, so
that its CPU build does where there is one.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vla_ros_bench"
_DONE = "made"
_SHARED = ("av>=15,<16", "jsonlines>=4", "packaging>=24.2,<26", "einops<0.9", "deepdiff<9")
_SHARED += ("termcolor", "imageio", "pillow", "pandas<3", "rosbags==0.11.9", "requests")
_SHARED += ("safetensors", "gymnasium<2", "psutil", "numpy<2.3", "opencv-python-headless<4.13")


# LeRobot's visualiser draws with Rerun; the other two are validators of datasets.
CHECKS = ("rerun-sdk==0.26.2", "lerobot-doctor==0.2.0", "deepen-grade==0.4.1", "rich", "click")
CHECKS += ("markdown-it-py", "pygments", "mdurl")


@dataclass(frozen=True)
class Peer:
    """One environment.

    Attributes:
        name: of its folder.
        plain: packages with what they need.
        alone: packages whose own requirements pull what is not used here, or what clashes.
    """

    name: str
    plain: tuple[str, ...]
    alone: tuple[str, ...] = ()


LEROBOT = Peer(
    "lerobot-0.4.4",
    ("torch==2.13.0", "datasets>=4,<5", "huggingface-hub<0.36", "draccus==0.10.0", *_SHARED),
    ("torchvision==0.28.0", "lerobot==0.4.4", "torchcodec==0.11.1", "accelerate<2", *CHECKS),
)
STREAMING = Peer(
    "lerobot-0.6.1",
    ("torch==2.13.0", "datasets>=4.8,<5", "huggingface-hub>=1.6,<2", "draccus<0.12", *_SHARED),
    ("torchvision==0.28.0", "lerobot==0.6.1", "torchcodec==0.11.1", "accelerate<2"),
)
FORGE = Peer(
    "forge-0.2.0",
    ("forge-robotics[mcap,rosbag,lerobot,video]==0.2.0", "opencv-python-headless"),
)


def python_of(peer: Peer) -> Path:
    """Return the peer's Python, made if need be; raises CalledProcessError if that fails."""
    folder = CACHE / peer.name
    python = folder / "bin/python"
    wanted = json.dumps([peer.plain, peer.alone])
    done = folder / _DONE
    if done.exists() and done.read_text() == wanted:
        return python
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    index = os.environ.get("VLA_TORCH_INDEX")
    extra = ["--extra-index-url", index] if index else []
    pip = [str(python), "-m", "pip", "install", "-q", *extra]
    subprocess.run([*pip, *peer.plain], check=True)
    if peer.alone:
        subprocess.run([*pip, "--no-deps", "--ignore-requires-python", *peer.alone], check=True)
    if sys.version_info < (3, 12):
        for file in folder.glob("lib/python3.*/site-packages/lerobot/**/*.py"):
            text = file.read_text(encoding="utf-8")
            if (older := without_type_parameters(text)) != text:
                file.write_text(older, encoding="utf-8")
    done.write_text(wanted)
    return python


def environment_of(peer: Peer) -> dict[str, str]:
    """Return what a peer's processes find: FFmpeg too, which torchcodec takes from the system.

    av's wheel has one that will do, under names with a hash.
    """
    libraries = CACHE / peer.name / "ffmpeg"
    libraries.mkdir(exist_ok=True)
    for file in (CACHE / peer.name).glob("lib/python3.*/site-packages/av.libs/lib*.so.*"):
        named = re.fullmatch(r"(lib(?:av|sw)\w+)-[0-9a-f]+(\.so\.\d+).*", file.name)
        if named and not (link := libraries / "".join(named.groups())).exists():
            link.symlink_to(file)
    return {**os.environ, "LD_LIBRARY_PATH": str(libraries)}


def without_type_parameters(text: str) -> str:
    """Return Python source with the types of PEP 695 as Python 3.11 has them."""
    names = set(re.findall(r"^ *(?:class|def) \w+\[(.*?)\]\(?", text, re.MULTILINE))
    text = re.sub(r"^type (\w+) = ", r"\1 = ", text, flags=re.MULTILINE)
    parameters = {p.partition(":")[0].strip() for group in names for p in group.split(",")}
    text = re.sub(r"^class (\w+)\[(\w+)\]:", r"class \1(Generic[\2]):", text, flags=re.MULTILINE)
    pattern = r"^class (\w+)\[([\w, ]+)\]\((.*?)\):"
    text = re.sub(pattern, r"class \1(\3, Generic[\2]):", text, flags=re.MULTILINE)
    text = re.sub(r"^( *def \w+)\[.*?\]\(", r"\1(", text, flags=re.MULTILINE)
    if not parameters:
        return text
    made = "\n".join(f'{name} = TypeVar("{name}")' for name in sorted(parameters))
    head = f"from typing import Generic, TypeVar\n\n{made}\n"
    # After the docstring and `from __future__`, before the first class or function.
    first = re.search(r"^(?:@|class |def )", text, re.MULTILINE)
    at = first.start() if first else len(text)
    return f"{text[:at]}{head}\n\n{text[at:]}"
