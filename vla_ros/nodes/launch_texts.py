"""Launch arguments that nodes get as the very strings they are, through a parameter file."""

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Text:
    """A launch argument that a node gets as a string, whatever it looks like to YAML."""

    name: str


@dataclass(frozen=True)
class Texts:
    """Launch arguments that a node gets as a list of strings; those that are empty are left out."""

    names: tuple[str, ...]


def text_file(node_name: str, texts: dict[str, str | list[str]]) -> str:
    """Write a parameter file in which every string is quoted, and return its path.

    launch_ros writes 1e3, y or inf without quotes, and the node then reads no string. The file is
    removed when the launch's process ends.
    """
    folder = tempfile.mkdtemp(prefix="vla_ros_launch_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / f"{node_name}.yaml"
    lines = [
        f"    {key}: {_quoted(value) if isinstance(value, str) else _quoted_list(value)}\n"
        for key, value in texts.items()
    ]
    head = "/**:\n  ros__parameters:" + ("\n" if lines else " {}\n")
    path.write_text(head + "".join(lines), encoding="utf-8")
    return str(path)


def _quoted(text: str) -> str:
    """Return a string in YAML's double quotes, with every escape that YAML may need."""
    escaped = (
        f"\\{c}" if c in '"\\' else c if c.isprintable() else f"\\U{ord(c):08x}" for c in text
    )
    return f'"{"".join(escaped)}"'


def _quoted_list(texts: list[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"
