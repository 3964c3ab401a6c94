"""Install the package where ROS 2 looks for it: `colcon build` and `pip install .` both come here.

Nodes are the executable files of `scripts/`, copied to `lib/vla_ros`: pip would put console scripts
into `bin/`, where `ros2 run` does not look. `training` is not installed. rclpy and launch are not
listed as requirements: outside a ROS install the first has another name and the second is another
project. package.xml says what is needed.
"""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "vla_ros"
# A shipped checkpoint has a folder of its backbone's tokenizer in it.
CHECKPOINTS = sorted(path.rstrip("/") for path in glob("checkpoints/*/**/", recursive=True))


def files(*patterns: str) -> list[str]:
    """Return the files, never the folders, that the patterns match."""
    return sorted(path for pattern in patterns for path in glob(pattern) if Path(path).is_file())


def extras() -> dict[str, list[str]]:
    """Return the pins of extras.txt, each package an extra of its own name."""
    named: dict[str, list[str]] = {}
    for line in Path("pip_ros/requirements/extras.txt").read_text().splitlines():
        if pin := line.split("#")[0].strip():
            named.setdefault(pin.split("==")[0], []).append(pin)
    return named


setup(
    name=NAME,
    version="0.1.0",
    description="Vision-language-action policies for a WidowX arm on ROS 2",
    maintainer="vla_ros maintainers",
    maintainer_email="maintainers@vla-ros.example",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    extras_require=extras(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch/*.launch.py")),
        (f"share/{NAME}/config", files("config/*")),
        *((f"share/{NAME}/{folder}", files(f"{folder}/*")) for folder in CHECKPOINTS),
        (f"lib/{NAME}", files("scripts/*")),
    ],
    zip_safe=False,
)
