"""Questions about a scene and their true answers, in many wordings.

Numbers are answered in one way each, so that they are tokens of few kinds: places in the picture
are hundredths of its width and height (`37 52`, from the upper left), places on the table are
millimetres in base_link in steps of 5 (`x 250 y -45 z 15`), distances too. Left, right, in front
and behind are the arm's own, as in instructions.

Of each kind of question the last wording is held out, and so are some pairs of objects: `Question`
says so, and who trains leaves these out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from vla_ros.sim import objects
from vla_ros.sim.caption_facts import Facts, Side, Thing, relation
from vla_ros.sim.caption_wordings import COLOURS, LEADS, WORDINGS
from vla_ros.sim.tableware import PLATE

STEP_M = 0.005
NOT_IN_SIGHT = "not in sight"
# How open the gripper is called open, and closed; between them it is half open.
_OPEN, _CLOSED = 0.75, 0.15
# Share of objects that get their colour named, and of questions that get a lead.
_COLOUR_NAMED, _LED = 0.15, 0.25


@dataclass(frozen=True)
class Question:
    """One question and its answer.

    Attributes:
        kind: a key of `caption_wordings.WORDINGS`.
        prompt, answer: what is asked, and what is true; lower case, no final stop.
        held_out: "" for training, "wording" or "pair" for what must not be trained on.
    """

    kind: str
    prompt: str
    answer: str
    held_out: str


@dataclass(frozen=True)
class _Asked:
    """A kind, what fills the blanks of its wordings, and the answer."""

    kind: str
    answer: str
    x: str = ""
    y: str = ""
    side: str = ""


def questions_of(facts: Facts, rng: np.random.Generator, count: int) -> list[Question]:
    """Return `count` questions about a scene; kinds are equally likely among those that apply."""
    makers = list(_MAKERS.items())
    found: list[Question] = []
    for _ in range(20 * count):
        if len(found) == count:
            break
        kind, maker = makers[int(rng.integers(len(makers)))]
        asked = maker(facts, rng)
        if asked is not None:
            assert asked.kind == kind
            found.append(_worded(asked, rng))
    return found


def is_held_out_pair(x: str, y: str) -> bool:
    """Return whether questions about these two objects, in any order, are held out: 1 in 5."""
    first, second = sorted(objects.OBJECT_NAMES.index(name) for name in (x, y))
    return (first + 3 * second) % 5 == 0


def place_in_picture(thing: Thing) -> str:
    """Return the answer `u v` in hundredths of the picture."""
    u, v = (min(max(int(100 * part), 0), 99) for part in thing.uv)
    return f"{u} {v}"


def millimetres(length_m: float) -> str:
    """Return a length in millimetres, in steps of 5."""
    return str(round(length_m / STEP_M) * round(1000 * STEP_M))


def place_on_table(position_m: Iterable[float]) -> str:
    """Return the answer `x .. y .. z ..` in millimetres."""
    return " ".join(
        f"{axis} {millimetres(value)}" for axis, value in zip("xyz", position_m, strict=True)
    )


def _worded(asked: _Asked, rng: np.random.Generator) -> Question:
    wordings = WORDINGS[asked.kind]
    chosen = int(rng.integers(len(wordings)))
    x, y = (_named(name, rng) for name in (asked.x, asked.y))
    prompt = wordings[chosen].format(x=x, y=y, side=asked.side)
    if rng.random() < _LED:
        prompt = f"{LEADS[int(rng.integers(len(LEADS)))]} {prompt}"
    held_out = "wording" if chosen == len(wordings) - 1 else ""
    if asked.x and asked.y and is_held_out_pair(asked.x, asked.y):
        held_out = "pair"
    return Question(asked.kind, prompt, asked.answer, held_out)


def _named(name: str, rng: np.random.Generator) -> str:
    # "orange orange" and "green green block" are said by nobody.
    has_two_names = name in COLOURS and not name.startswith(COLOURS[name])
    is_coloured = has_two_names and rng.random() < _COLOUR_NAMED
    return f"{COLOURS[name]} {name}" if is_coloured else name


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return "nothing"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _pick(things: tuple[Thing, ...], rng: np.random.Generator) -> Thing | None:
    return things[int(rng.integers(len(things)))] if things else None


def _two(facts: Facts, rng: np.random.Generator) -> tuple[Thing, Thing] | None:
    if len(facts.seen) < 2:
        return None
    first, second = rng.choice(len(facts.seen), 2, replace=False)
    return facts.seen[first], facts.seen[second]


def _about_thing(kind: str, answer: Callable[[Thing], str]) -> Callable:
    """Return the maker of a question on one thing; 1 in 10 is on something that does not show."""

    def make(facts: Facts, rng: np.random.Generator) -> _Asked | None:
        if rng.random() < 0.1:
            in_sight = {thing.name for thing in facts.seen}
            absent = [name for name in facts.known if name not in in_sight]
            return _Asked(kind, NOT_IN_SIGHT, str(rng.choice(absent))) if absent else None
        thing = _pick(facts.seen, rng)
        return None if thing is None else _Asked(kind, answer(thing), thing.name)

    return make


def _gripper_picture(facts: Facts, rng: np.random.Generator) -> _Asked:
    tool = facts.tool
    return _Asked("gripper_picture", place_in_picture(tool) if tool.is_seen else NOT_IN_SIGHT)


def _gripper_place(facts: Facts, rng: np.random.Generator) -> _Asked:
    return _Asked("gripper_place", place_on_table(facts.tool.position_m))


def _gripper_height(facts: Facts, rng: np.random.Generator) -> _Asked:
    return _Asked("gripper_height", millimetres(facts.tool.position_m[2]))


def _opening(facts: Facts, rng: np.random.Generator) -> _Asked:
    word = "open" if facts.opening > _OPEN else "half open"
    return _Asked("opening", "closed" if facts.opening < _CLOSED else word)


def _holding(facts: Facts, rng: np.random.Generator) -> _Asked | None:
    held_but_hidden = facts.held and facts.held not in {thing.name for thing in facts.seen}
    return None if held_but_hidden else _Asked("holding", facts.held or "nothing")


def _is_holding(facts: Facts, rng: np.random.Generator) -> _Asked | None:
    toys = [thing.name for thing in facts.seen if thing.name in objects.TOYS]
    if not toys:
        return None
    name = facts.held if facts.held in toys and rng.random() < 0.5 else str(rng.choice(toys))
    return _Asked("is_holding", "yes" if name == facts.held else "no", name)


def _offset(facts: Facts, rng: np.random.Generator) -> _Asked | None:
    """Ask for the way from the gripper to a thing."""
    thing = _pick(facts.seen, rng)
    if thing is None:
        return None
    way = np.subtract(thing.position_m, facts.tool.position_m)
    return _Asked("offset", place_on_table(way.tolist()), thing.name)


def _side(facts: Facts, rng: np.random.Generator) -> tuple[Thing, Thing, Side, bool] | None:
    both = _two(facts, rng)
    side = get_args(Side)[int(rng.integers(4))]
    is_so = None if both is None else relation(*both, side)
    return None if both is None or is_so is None else (*both, side, is_so)


def _is_at_side(facts: Facts, rng: np.random.Generator) -> _Asked | None:
    drawn = _side(facts, rng)
    if drawn is None:
        return None
    of, to, side, is_so = drawn
    return _Asked("is_at_side", "yes" if is_so else "no", of.name, to.name, side)


def _what_at_side(facts: Facts, rng: np.random.Generator) -> _Asked | None:
    """Ask what is on one side of a thing, where nothing is so near that it is arguable."""
    to = _pick(facts.seen, rng)
    side = get_args(Side)[int(rng.integers(4))]
    others = [] if to is None else [thing for thing in facts.seen if thing.name != to.name]
    if to is None or not others:
        return None
    answers = {thing.name: relation(thing, to, side) for thing in others}
    if None in answers.values():
        return None
    there = _listed(name for name, is_there in answers.items() if is_there)
    return _Asked("what_at_side", there, to.name, side=side)


def _which_side(facts: Facts, rng: np.random.Generator) -> _Asked | None:
    both = _two(facts, rng)
    if both is None:
        return None
    true = [side for side in get_args(Side) if relation(*both, side)]
    return _Asked("which_side", " and ".join(true), both[0].name, both[1].name) if true else None


def _on_plate(facts: Facts, rng: np.random.Generator) -> _Asked | None:
    names = {thing.name for thing in facts.seen}
    if PLATE.name not in names or not names.issuperset(facts.on_plate):
        return None
    return _Asked("on_plate", _listed(facts.on_plate))


def _colour(facts: Facts, rng: np.random.Generator) -> _Asked | None:
    thing = _pick(facts.seen, rng)
    return None if thing is None else _Asked("colour", COLOURS[thing.name], thing.name)


def _coloured(facts: Facts, rng: np.random.Generator) -> _Asked:
    colour = str(rng.choice(sorted(set(COLOURS.values()))))
    names = (thing.name for thing in facts.seen if COLOURS[thing.name] == colour)
    return _Asked("coloured", _listed(names), side=colour)


def _what_is_there(facts: Facts, rng: np.random.Generator) -> _Asked:
    return _Asked("what_is_there", _listed(thing.name for thing in facts.seen))


def _caption(facts: Facts, rng: np.random.Generator) -> _Asked:
    """Describe the scene: the gripper, what it does, and how two things lie to each other."""
    height = round(100 * facts.tool.position_m[2])
    parts = [f"the gripper is {_opening(facts, rng).answer}, {height} cm above the table"]
    if facts.held:
        parts.append(f"it holds the {facts.held}")
    seen = [f"the {thing.name}" for thing in facts.seen if thing.name != facts.held]
    parts.append(f"there {'are' if len(seen) > 1 else 'is'} {_listed(seen)}")
    if _on_plate(facts, rng) is not None and facts.on_plate:
        parts.append(f"the {_listed(facts.on_plate)} lies on the plate")
    drawn = _which_side(facts, rng)
    # What the caption says of a pair that is held out would be trained on.
    if drawn is not None and not is_held_out_pair(drawn.x, drawn.y):
        parts.append(f"the {drawn.x} is {drawn.answer} the {drawn.y}")
    return _Asked("caption", "; ".join(parts))


_MAKERS: dict[str, Callable[[Facts, np.random.Generator], _Asked | None]] = {
    "where_picture": _about_thing("where_picture", place_in_picture),
    "where_place": _about_thing("where_place", lambda thing: place_on_table(thing.position_m)),
    "where_height": _about_thing("where_height", lambda thing: millimetres(thing.position_m[2])),
    "depth": _about_thing("depth", lambda thing: millimetres(thing.depth_m)),
    "offset": _offset,
    "gripper_picture": _gripper_picture,
    "gripper_place": _gripper_place,
    "gripper_height": _gripper_height,
    "opening": _opening,
    "holding": _holding,
    "is_holding": _is_holding,
    "is_at_side": _is_at_side,
    "what_at_side": _what_at_side,
    "which_side": _which_side,
    "on_plate": _on_plate,
    "colour": _colour,
    "coloured": _coloured,
    "what_is_there": _what_is_there,
    "caption": _caption,
}
