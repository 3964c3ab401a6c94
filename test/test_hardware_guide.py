"""Every command of ours in docs/hardware.md exists, with its arguments and names."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "hardware.md").read_text()


def commands(start: str) -> list[str]:
    """Return the lines of the guide's code blocks that begin so, joined and without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [line.split("  #")[0].strip() for line in lines if line.startswith(start)]
    assert found, f"the guide has no command {start!r}"
    return found


def declared(name: str) -> set[str]:
    """Return the launch arguments of one launch file and of what all of them share."""
    shared = (ROOT / "vla_ros" / "nodes" / "launching.py").read_text()
    own = (ROOT / "launch" / name).read_text()
    return set(re.findall(r'argument\(\s*"(\w+)"', shared + own))


@pytest.mark.parametrize("command", commands("ros2 launch vla_ros "))
def test_launch_files_have_the_arguments(command):
    _, _, _, name, *arguments = shlex.split(command)
    given = {argument.partition(":=")[0] for argument in arguments}
    assert given <= declared(name), given - declared(name)


@pytest.mark.parametrize("command", commands("python -m training."))
def test_scripts_take_the_options(command):
    _, _, module, *arguments = shlex.split(command)
    importlib.import_module(module).parse_arguments(arguments)


def test_topics_and_services_of_ours_have_these_names():
    sources = "\n".join(path.read_text() for path in (ROOT / "vla_ros" / "nodes").glob("*.py"))
    for name in sorted(set(re.findall(r"/vla/\w+", GUIDE))):
        assert f'"{name}"' in sources, name
    for name in sorted(set(re.findall(r"/demo/(\w+) std_srvs", GUIDE))):
        assert f'"~/{name}"' in sources, name


def test_footnotes_are_used_and_there():
    used = set(re.findall(r"[^\n]\[\^(\w+)\]", GUIDE))
    assert used == set(re.findall(r"^\[\^(\w+)\]:", GUIDE, re.MULTILINE))


def test_pictures_are_there():
    links = re.findall(r"\]\((images/[^)]+)\)", GUIDE)
    assert links
    assert all((ROOT / "docs" / link).is_file() for link in links)
