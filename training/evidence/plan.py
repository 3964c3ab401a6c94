"""Which stages an experiment has, in their order; every one is a command of this repository."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from training.evidence.cells import APT_OTHERS, APT_SEEN, CELLS, TAP_OTHERS, TAP_TASKS
from training.evidence.rows import Row, Scale
from training.evidence.stages import Stage
from vla_ros.sim.tasks import Task

# Objects on the table while playing; they are drawn anew for each scene.
_IN_PLAY = 5
_RATE_HZ = 5.0
# What a demonstration takes [s], for the plan of what will take how long.
_DEMO_S = 8.0
# Scenes of the trials, equal for all rows and seeds.
TRIAL_SEED = 0
# The frame of a demonstration that Grad-CAM is shown: the arm is on its way to the toy.
_SHOWN_FRAME = 8


@dataclass(frozen=True)
class Experiment:
    """What is to be done.

    Attributes:
        method: "tap" or "apt".
        out: folder of everything.
        scale: how large.
        rows: of the method's table.
        seeds: of training.
        backbone: folder of training.pretrain_vlm; None: one is made.
        workers: processes of what can have several.
        compiles: whether APT's steps are translated first: faster, and equal but for rounding.
    """

    method: str
    out: Path
    scale: Scale
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    backbone: Path | None = None
    workers: int = 1
    compiles: bool = False

    @property
    def backbone_folder(self) -> Path | None:
        """The backbone of all rows; None: random weights of the recipe."""
        if self.backbone is not None:
            return self.backbone
        return self.out / "ckpt" / "backbone" if self.scale.captions else None

    def checkpoint(self, row: Row, seed: int) -> Path:
        """Return where a row's policy is."""
        return self.out / "ckpt" / f"{self.method}2-{row.name}-s{seed}"

    def first_checkpoint(self, row: Row, seed: int) -> Path:
        """Return where the Stage 1 of a row that has one is."""
        return self.out / "ckpt" / f"{self.method}1-{row.first}-s{seed}"

    def result(self, row: Row, seed: int) -> Path:
        """Return where its trials are."""
        return self.out / "results" / "trials" / f"{self.method}-{row.name}-s{seed}.json"

    def open_loop(self, row: Row, seed: int) -> Path:
        """Return where its open-loop errors are."""
        return self.out / "results" / "open_loop" / f"{self.method}-{row.name}-s{seed}.json"

    def probe(self, row: Row, seed: int) -> Path:
        """Return where the read-out of its features is."""
        return self.out / "results" / "probes" / f"{self.method}-{row.name}-s{seed}.json"


def stages_of(experiment: Experiment) -> list[Stage]:
    """Return all stages of an experiment, each after those that it needs."""
    data = _TapData(experiment) if experiment.method == "tap" else _AptData(experiment)
    found = [*_backbone(experiment), _probed(experiment), *data.stages()]
    known: set[str] = set()
    for seed in experiment.seeds:
        for row in experiment.rows:
            for stage in _learned(experiment, data, row, seed):
                if stage.name not in known:  # rows share their Stage 1
                    known.add(stage.name)
                    found.append(stage)
    return found


def _backbone(e: Experiment) -> Iterator[Stage]:
    if e.backbone is not None or not e.scale.captions:
        return
    captions, out = e.out / "data" / "captions", e.out / "ckpt" / "backbone"
    yield _captions(e, "captions", captions, e.scale.captions, "--vary-looks")
    teach = ("training.pretrain_vlm", "--data", str(captions), "--out", str(out))
    command = (*teach, "--recipe", e.scale.recipe, "--steps", str(e.scale.backbone_steps))
    yield Stage("backbone", "backbone", command, e.scale.backbone_steps, out, ("captions",))


def _captions(e: Experiment, name: str, out: Path, frames: int, *more: str) -> Stage:
    size = ("--image-size", "32") if e.scale.recipe == "tiny" else ()
    make = ("vla_ros.sim.captions", "--out", str(out), "--frames", str(frames))
    return Stage(name, "captions", (*make, *more, *size), frames, out, free=_workers(e))


def _probed(e: Experiment) -> Stage:
    """Return the stage of the pictures that features are probed with: of a seed of their own."""
    return _captions(e, "probed", e.out / "data" / "probed", e.scale.probed, "--seed", "9")


# --- data ---


class _TapData:
    """Play and demonstrations in parts, so that those of a small row are those of a large one."""

    def __init__(self, e: Experiment):
        self._e = e
        self._plays = _parts(e.scale.play_h)
        self._demos = _parts(e.scale.demos)

    def stages(self) -> Iterator[Stage]:
        e = self._e
        most_play = max((len(self._first_parts(row)) for row in e.rows), default=0)
        for number in range(most_play):
            yield from self._play(number)
        most_demos = max((len(self._second_parts(row)) for row in e.rows), default=0)
        for number in range(most_demos):
            yield from self._demonstrations(number)

    def first(self, row: Row) -> tuple[list[str], list[str]]:
        """Return the arguments for the data of Stage 1, and the stages that make them."""
        names = [f"play-{number}" for number in self._first_parts(row)]
        return self._given(names)

    def second(self, row: Row) -> tuple[list[str], list[str]]:
        """Return the same of Stage 2."""
        return self._given([f"demos-{number}" for number in self._second_parts(row)])

    def _given(self, names: list[str]) -> tuple[list[str], list[str]]:
        folders = [str(self._e.out / "data" / name) for name in names]
        return ["--data", *folders], [f"convert/{name}" for name in names]

    def _first_parts(self, row: Row) -> range:
        """Return the parts of play that a row's Stage 1 takes."""
        return range(_count(row.play_h, self._e.scale.play_h) if row.first else 0)

    def _second_parts(self, row: Row) -> range:
        return range(_count(row.demos, self._e.scale.demos))

    def _play(self, number: int) -> Iterator[Stage]:
        e, name, hours = self._e, f"play-{number}", self._plays[number]
        bags = e.out / "bags" / name
        command = (
            *("training.evidence.generate", "play", "--hours", str(hours), "--out", str(bags)),
            *("--seed", str(number), "--objects", "known", "--in-play", str(_IN_PLAY)),
        )
        yield Stage(f"generate/{name}", "play", command, hours, bags, free=_workers(e))
        frames = hours * 3600 * _RATE_HZ
        yield _convert(e, name, [bags], frames, [f"generate/{name}"])

    def _demonstrations(self, number: int) -> Iterator[Stage]:
        e, name, count = self._e, f"demos-{number}", self._demos[number]
        folders, needs = [], []
        for k, (short, task) in enumerate(TAP_TASKS.items()):
            # With a seed each, so that layouts of one task are not those of another.
            seed = 100 + len(TAP_TASKS) * number + k
            stage = _demos(e, f"{name}/{short}", task, int(count), seed, TAP_OTHERS)
            folders.append(stage.out)
            needs.append(stage.name)
            yield stage
        frames = count * len(folders) * _DEMO_S * _RATE_HZ
        yield _convert(e, name, folders, frames, needs)


class _AptData:
    """Demonstrations of the pairs that may be seen, for both stages; Stage 1 sees no language."""

    def __init__(self, e: Experiment):
        self._e = e

    def stages(self) -> Iterator[Stage]:
        e, folders, needs = self._e, [], []
        for k, task in enumerate(APT_SEEN[: e.scale.apt_tasks or None]):
            name = f"demos/{task.target}-{task.place}".replace(" ", "_")
            stage = _demos(e, name, task, e.scale.apt_demos, 200 + k, APT_OTHERS)
            folders.append(stage.out)
            needs.append(stage.name)
            yield stage
        frames = e.scale.apt_demos * len(folders) * _DEMO_S * _RATE_HZ
        yield _convert(e, "demos", folders, frames, needs)

    def first(self, row: Row) -> tuple[list[str], list[str]]:
        given, needs = self.second(row)
        return [*given, "--kinds", "demo"], needs

    def second(self, row: Row) -> tuple[list[str], list[str]]:
        return ["--data", str(self._e.out / "data" / "demos")], ["convert/demos"]


def _parts(amounts: Sequence[float]) -> list[float]:
    """Return what each of rising amounts adds."""
    return [high - low for low, high in pairwise((0, *amounts))]


def _count(wanted: float, amounts: Sequence[float]) -> int:
    """Return how many parts a row takes; 0 wants all of them."""
    return amounts.index(wanted) + 1 if wanted else len(amounts)


def _demos(e: Experiment, name: str, task: Task, count: int, seed: int, others: int) -> Stage:
    bags = e.out / "bags" / name
    command = (
        *("training.evidence.generate", "demos", "--task", task.instruction),
        *("--episodes", str(count), "--out", str(bags), "--seed", str(seed)),
        *("--others", str(others), "--slips", str(e.scale.slips)),
        *("--misses", str(e.scale.misses), "--losses", str(e.scale.losses)),
    )
    return Stage(f"generate/{name}", "demos", command, count, bags, free=_workers(e))


def _convert(e: Experiment, name: str, bags: list[Path], frames: float, needs: list[str]) -> Stage:
    out = e.out / "data" / name
    command = ("training.convert", *map(str, bags), "--out", str(out))
    return Stage(f"convert/{name}", "convert", command, frames, out, tuple(needs), (), _workers(e))


def _workers(e: Experiment) -> tuple[str, str]:
    return "--workers", str(e.workers)


# --- learning and measuring ---


def _learned(e: Experiment, data: "_TapData | _AptData", row: Row, seed: int) -> Iterator[Stage]:
    backbone = e.backbone_folder
    files = () if e.backbone is None else (e.backbone,)
    needs_backbone = ("backbone",) if backbone is not None and not files else ()
    see = ("--backbone", str(backbone)) if backbone is not None else ()
    first = ""
    if row.first:
        given, needs = data.first(row)
        out = e.first_checkpoint(row, seed)
        command = (*_train(e, 1, given, out, seed), *see, *row.first_options)
        first, steps = f"stage1/{row.first}-s{seed}", e.scale.steps(e.method, 1)
        kind = f"stage1_{e.method}"
        needs = (*needs, *needs_backbone)
        yield Stage(first, kind, command, steps, out, needs, files, _compiled(e))
        start, after = ("--init", str(out)), (first,)
    else:
        start, after = ("--init", "none", *see), needs_backbone
    given, needs = data.second(row)
    out = e.checkpoint(row, seed)
    command = (*_train(e, 2, given, out, seed), *start, *row.options)
    second, kind = f"stage2/{row.name}-s{seed}", f"stage2_{e.method}"
    steps = e.scale.steps(e.method, 2)
    files = () if row.first else files
    yield Stage(second, kind, command, steps, out, (*needs, *after), files, _compiled(e))
    yield from _measured(e, row, seed, given, second)


def _compiled(e: Experiment) -> tuple[str, ...]:
    return ("--compile",) if e.compiles and e.method == "apt" else ()


def _train(e: Experiment, stage: int, given: list[str], out: Path, seed: int) -> tuple[str, ...]:
    steps = e.scale.steps(e.method, stage)
    script = f"training.stage{stage}_{e.method}"
    options = ("--recipe", e.scale.recipe, "--steps", str(steps), "--seed", str(seed))
    return (script, *given, "--out", str(out), *options)


def _measured(e: Experiment, row: Row, seed: int, given: list[str], after: str) -> Iterator[Stage]:
    s, checkpoint, name = e.scale, e.checkpoint(row, seed), f"{row.name}-s{seed}"
    out = e.open_loop(row, seed)
    command = ("training.evaluate", str(checkpoint), *given, "--samples", str(s.samples))
    yield Stage(f"open_loop/{name}", "open_loop", (*command, "--json", str(out)), 1, out, (after,))
    out = e.result(row, seed)
    command = (
        *("training.evidence.rollouts", str(checkpoint), "--cells", e.method),
        *("--trials", str(s.trials), "--seed", str(TRIAL_SEED)),
        *("--time-limit", f"{s.time_limit_s:g}", "--json", str(out)),
    )
    if e.method == "apt" and s.apt_latency_s:
        command = (*command, "--latency", f"{s.apt_latency_s:g}")
    films = e.out / "results" / "films" / f"{e.method}-{name}"
    trials, kind = s.trials * len(CELLS[e.method]), f"rollouts_{e.method}"
    free = (*_workers(e), "--film", str(films))
    yield Stage(f"rollouts/{name}", kind, command, trials, out, (after,), (), free)
    out = e.probe(row, seed)
    stages = (*((e.first_checkpoint(row, seed),) if row.first else ()), checkpoint)
    command = ("training.evidence.probe", *map(str, stages), "--data", str(e.out / "data/probed"))
    command = (*command, "--json", str(out))
    yield Stage(f"probe/{name}", "probe", command, 1, out, (after, "probed"))
    if seed == e.seeds[0]:
        out = e.out / "results" / "attention" / f"{e.method}-{name}.png"
        command = ("training.attention", str(checkpoint), "--data", given[1])
        command = (*command, "--frame", str(_SHOWN_FRAME), "--out", str(out))
        yield Stage(f"attention/{name}", "attention", command, 1, out, (after,))
