"""Everything that may be on the table, by name.

`KNOWN_NAMES` are what play, demonstrations and captions are made with. Novel toys are for
instructions about unseen objects, distractors only stand about; neither is on a table unless
somebody asks for it by name.
"""

from vla_ros.sim.blocks import BLOCKS
from vla_ros.sim.distractors import DISTRACTORS
from vla_ros.sim.food import FOOD, NOVEL_FOOD
from vla_ros.sim.tableware import BOWL, CLOTH, PLATE, SPOON
from vla_ros.sim.things import Place, Thing, Toy

_KNOWN_TOYS: tuple[Toy, ...] = (*FOOD, SPOON, *BLOCKS)
TOYS: dict[str, Toy] = {toy.name: toy for toy in (*_KNOWN_TOYS, *NOVEL_FOOD)}
PLACES: dict[str, Place] = {place.name: place for place in (PLATE, BOWL, CLOTH)}
THINGS: dict[str, Thing] = {**TOYS, **{thing.name: thing for thing in DISTRACTORS}}

KNOWN_TOY_NAMES: tuple[str, ...] = tuple(toy.name for toy in _KNOWN_TOYS)
NOVEL_TOY_NAMES: tuple[str, ...] = tuple(toy.name for toy in NOVEL_FOOD)
# The spoon is too flat to be pushed: the fingers' tips slip over it.
PUSHED_TOY_NAMES: tuple[str, ...] = tuple(name for name in TOYS if name != SPOON.name)
BLOCK_NAMES: tuple[str, ...] = tuple(block.name for block in BLOCKS)
DISTRACTOR_NAMES: tuple[str, ...] = tuple(thing.name for thing in DISTRACTORS)
# In the order of the model's coordinates: what is added is added at the end of its kind's part.
KNOWN_NAMES: tuple[str, ...] = (
    *(toy.name for toy in FOOD),
    PLATE.name,
    SPOON.name,
    *BLOCK_NAMES,
    BOWL.name,
    CLOTH.name,
)
OBJECT_NAMES: tuple[str, ...] = (*KNOWN_NAMES, *NOVEL_TOY_NAMES, *DISTRACTOR_NAMES)


def footprint_m(name: str) -> float:
    """Return the radius [m] of the circle around an object's footprint."""
    return PLACES[name].radius_m if name in PLACES else THINGS[name].radius_m


def rest_height_m(name: str) -> float:
    """Return the height [m] of an object's frame above the table at rest; a place's is on it."""
    return 0.0 if name in PLACES else THINGS[name].rest_height_m
