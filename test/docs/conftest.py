"""What the pages with a table of tests share."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _require_tests(row: list[str]) -> None:
    what, answer, shown = row
    named = re.findall(r"`(test/[\w/]+\.py)::(test_\w+)`", shown)
    assert answer
    assert named, f"no test shows: {what}"
    for file, name in named:
        functions = {
            node.name
            for node in ast.parse((ROOT / file).read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, f"{file} has no {name}"


@pytest.fixture
def require_tests():
    """Return a check that a row (what, answer, tests) says something and its tests exist."""
    return _require_tests
