"""What is measured: cells of trials, for TAP's scenarios and for APT's splits of language.

A cell has its scenario and its instructions; trial t of a seed has the same instruction and the
same scene for every policy. What training may hold is `TAP_TASKS` and `APT_SEEN`, in the first
wording of `sim.wordings`, in the standard look; everything else here is held out.
"""

from dataclasses import dataclass, replace

import numpy as np

from training.evidence.simulation import LAYOUTS_PER_SEED
from vla_ros.core.errors import SceneError
from vla_ros.sim import objects
from vla_ros.sim.layouts import fixed_layout
from vla_ros.sim.tasks import Task, chained, parse_task
from vla_ros.sim.trials import FAMILIES, Trial, trial_of

# Known objects beside those of the task, in demonstrations as in trials. With three, every other
# scene has a second place, and all have a second toy: what shall be done is not seen.
TAP_OTHERS, APT_OTHERS = 2, 3
TAP_SCENARIOS = (
    *("standard", "initial state", "distractors", "background", "viewpoint", "lighting"),
)
# Of these the paper has a table; lighting is ours.
PAPER_SCENARIOS = TAP_SCENARIOS[:5]
_CARROT = Task("put", "carrot")
_PUMPKIN = Task("push", "pumpkin", "left")
TAP_TASKS: dict[str, Task] = {"carrot": _CARROT, "pumpkin": _PUMPKIN}


def _split_pairs() -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """Return the pairs of toy and place to train on, and those held out: of each toy one place.

    Toys miss the places in turn, so that every word is seen in training with several partners.
    """
    toys, places = objects.KNOWN_TOY_NAMES, tuple(objects.PLACES)
    seen, unseen = [], []
    for task in FAMILIES["toy to place"]:
        missed = places[(toys.index(task.target) + 1) % len(places)]
        (unseen if task.place == missed else seen).append(task)
    return tuple(seen), tuple(unseen)


APT_SEEN, APT_UNSEEN = _split_pairs()


@dataclass(frozen=True)
class Ask:
    """What a policy is asked for in one trial.

    Attributes:
        tasks: what has to be done, in this order.
        sentences: one for all of them, or one for each, told when the one before is done.
    """

    tasks: tuple[Task, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        name: for command lines and files.
        scenario: of `sim.trials.SCENARIOS`.
        asks: trial t has the one of number t, counted around.
        others: how many further known objects lie on the table.
    """

    name: str
    scenario: str
    asks: tuple[Ask, ...]
    others: int

    def ask(self, trial: int) -> Ask:
        """Return what trial number `trial` asks for."""
        return self.asks[trial % len(self.asks)]

    def scene(self, trial: int, seed: int) -> Trial:
        """Return the scene of trial number `trial`, counted from 0; equal for every policy.

        Raises:
            SceneError: its objects do not fit on the table.
        """
        ask, layout_seed = self.ask(trial), seed * LAYOUTS_PER_SEED + trial
        first, *rest = ask.tasks
        if not rest:
            return trial_of(first, layout_seed, self.scenario, self.others)
        needed = tuple(dict.fromkeys(name for task in ask.tasks for name in task.objects))
        found = trial_of(first, layout_seed, self.scenario)
        return replace(found, layout=fixed_layout(layout_seed, needed))


def plain(task: Task) -> Ask:
    """Return a task asked for in the words of training."""
    return Ask((task,), (task.instruction,))


def task_cell(text: str, scenario: str = "standard") -> Cell:
    """Return a cell of one instruction.

    Raises:
        SceneError: nobody could judge it.
    """
    task = parse_task(text)
    if task is None:
        raise SceneError(
            f"the simulator cannot judge {text!r}; ask for something like 'put the carrot on the "
            "plate'"
        )
    return Cell(f"{text}/{scenario}", scenario, (Ask((task,), (text,)),), TAP_OTHERS)


def _shuffled(asks: list[Ask]) -> tuple[Ask, ...]:
    """Return them in an order that is always the same, so that few trials see all kinds."""
    return tuple(asks[i] for i in np.random.default_rng(0).permutation(len(asks)))


def _pairs() -> list[tuple[Task, Task]]:
    """Return tasks of training that can be done one after the other: nothing of one is in both."""
    half = len(APT_SEEN) // 2
    turned = (*APT_SEEN[half:], *APT_SEEN[:half])
    return [
        (one, other)
        for one, other in zip(APT_SEEN, turned, strict=True)
        if not set(one.objects) & set(other.objects)
    ]


def _paraphrased() -> list[Ask]:
    return [
        Ask((task,), (task.paraphrases[(k + turn) % len(task.paraphrases)],))
        for turn in range(2)
        for k, task in enumerate(APT_SEEN)
    ]


TAP_CELLS: tuple[Cell, ...] = tuple(
    Cell(f"{name}/{scenario}", scenario, (plain(task),), TAP_OTHERS)
    for name, task in TAP_TASKS.items()
    for scenario in TAP_SCENARIOS
)
_SEEN = _shuffled([plain(task) for task in APT_SEEN])
APT_CELLS: tuple[Cell, ...] = (
    Cell("seen", "standard", _SEEN, APT_OTHERS),
    Cell(
        "unseen combinations",
        "standard",
        _shuffled([plain(task) for task in APT_UNSEEN]),
        APT_OTHERS,
    ),
    Cell(
        "unseen objects",
        "standard",
        _shuffled([plain(task) for task in FAMILIES["novel toy to place"]]),
        APT_OTHERS,
    ),
    Cell("paraphrases", "standard", _shuffled(_paraphrased()), APT_OTHERS),
    Cell("unseen environment", "environment", _SEEN, APT_OTHERS),
    Cell("chained", "standard", _shuffled([Ask(pair, (chained(pair),)) for pair in _pairs()]), 0),
    Cell(
        "coached",
        "standard",
        _shuffled([Ask(pair, tuple(task.instruction for task in pair)) for pair in _pairs()]),
        0,
    ),
)
CELLS: dict[str, tuple[Cell, ...]] = {"tap": TAP_CELLS, "apt": APT_CELLS}


def cells_named(names: list[str]) -> tuple[Cell, ...]:
    """Return the cells of these names; "tap" and "apt" are all of a method.

    Raises:
        SceneError: there is none of a name.
    """
    known = {cell.name: (cell,) for cells in CELLS.values() for cell in cells} | CELLS
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SceneError(
            f"there is no cell {', '.join(map(repr, unknown))}; choose from "
            f"{', '.join(map(repr, known))}"
        )
    return tuple(dict.fromkeys(cell for name in names for cell in known[name]))
