"""Every switch that docs/methods.md names exists, with its default; a row without says why."""

import ast
import re
from pathlib import Path

import pytest

from training import convert, stage1_apt, stage1_tap, stage2_apt, stage2_tap
from training.learning.apt_recipes import RECIPES as APT_RECIPES
from training.learning.apt_recipes import AptRecipe, Augmentation
from training.learning.engine import EngineConfig
from training.learning.tap_recipes import RECIPES as TAP_RECIPES
from training.learning.tap_recipes import TapRecipe
from vla_ros.core.play_parameters import ExplorationParameters
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.tap_config import TapConfig

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "methods.md").read_text()
TABLES = TEXT.partition("## Where paper, code and this package differ")[2]
ROWS = [
    line.strip("| ").split(" | ")
    for line in TABLES.splitlines()
    if line.startswith("| ") and not line.startswith("| point |")
]
CLASSES = {
    kind.__name__: kind
    for kind in (
        *(TapConfig, TapRecipe, AptConfig, AptRecipe, Augmentation, EngineConfig),
        *(SmallVlmConfig, ExplorationParameters),
    )
}
SCRIPTS = {
    "convert": convert,
    "stage1_tap": stage1_tap,
    "stage2_tap": stage2_tap,
    "stage1_apt": stage1_apt,
    "stage2_apt": stage2_apt,
}
FIELD = re.compile(r"`(\w+)\.(\w+)` = `([^`]+)`")
OPTION = re.compile(r"`(\w+) (--[\w-]+)`")


def options_of(script, capsys):
    """Return the option strings that a script's help names."""
    with pytest.raises(SystemExit):
        script.parse_arguments(["--help"])
    return set(re.findall(r"--[\w-]+", capsys.readouterr().out))


def test_every_row_has_five_cells_and_a_point_of_its_own():
    assert len(ROWS) > 60
    assert [row for row in ROWS if len(row) != 5 or not all(row)] == []


def test_every_switch_exists_with_its_default():
    wrong = []
    for point, *_, switch in ROWS:
        fields, options = FIELD.findall(switch), OPTION.findall(switch)
        if not (fields or options or switch.startswith("none")):
            wrong.append(f"{point}: no switch, and no reason")
        # Nothing in the cell may be of a form that is not looked at.
        if switch.count("`") != 4 * len(fields) + 2 * len(options):
            wrong.append(f"{point}: what is {switch}")
        for kind, name, default in fields:
            field = CLASSES[kind].__dataclass_fields__.get(name)
            if field is None or field.default != ast.literal_eval(default):
                wrong.append(f"{point}: {kind}.{name} is {field and field.default!r}")
    assert wrong == []


def test_options_that_are_named_exist(capsys):
    named = set(OPTION.findall(TABLES))
    for name, script in SCRIPTS.items():
        wanted = {option for of, option in named if of == name}
        assert wanted <= options_of(script, capsys), name
    assert {name for name, _ in named} <= set(SCRIPTS)


def test_recipes_that_are_named_exist():
    for name in re.findall(r"`(qwen\w*|small)`", TABLES):
        assert name in {**TAP_RECIPES, **APT_RECIPES}


def test_commands_that_are_shown_are_taken():
    commands = re.findall(r"python -m training\.(\w+) ([^#\n]+)", TEXT)
    for name, words in commands:
        if name in SCRIPTS:
            SCRIPTS[name].parse_arguments(words.split())
    assert {name for name, _ in commands} >= set(SCRIPTS)
