"""Conversion beside that of peers: the same recordings, cores and quality of pictures."""

import statistics
from collections.abc import Callable
from pathlib import Path

from bench import _data_commands as do
from bench import _data_peers as peers
from bench._data_bags import write_bag
from bench._data_commands import Command, Run
from bench._report import Row

CRF_SECONDS = 4.0


class Recordings:
    """What everybody converts, and our dataset of it.

    Args:
        folder: for what is written.
        seconds: of all bags together.
        cores: how many everybody may use; there are as many bags.
        repeats: of each contender.
    """

    def __init__(self, folder: Path, seconds: float, cores: int, repeats: int):
        self.folder, self.cores, self.repeats = folder, cores, repeats
        self.bags = folder / "bags"
        self.bags.mkdir()
        for number in range(cores):
            write_bag(self.bags / f"play-{number}", seconds / cores, number)
        self.paths = sorted(self.bags.iterdir())

    def dataset(self, images: str = "jpeg") -> Path:
        """Return our dataset of the recordings, made if need be."""
        out = self.folder / f"ours-{images}"
        more = () if images == "jpeg" else ("--images", "video")
        if not out.exists():
            do.run([Command(do.convert_command(self.bags, out, self.cores, *more))])
        return out

    def ours(self, workers: int) -> Callable[[Path], list[Command]]:
        """Return our contender."""
        return lambda out: [Command(do.convert_command(self.bags, out, workers), out)]

    def against_writer(self, peer: peers.Peer, label: str, goal: float) -> list[Row]:
        """Return how we compare with a version of LeRobot's own writer."""
        wanted = do.quality(self.dataset(), self.paths)
        short = self._short()
        ours = self.folder / "ours-short"
        if not ours.exists():
            do.run([Command(do.convert_command(short, ours, 1))])
        short_db = do.quality(ours, [short]).luma_db
        crf, _ = do.matching_crf(lambda crf: self._luma_db(peer, crf), short_db)

        def one(out: Path) -> list[Command]:
            return [do.writer_command(peer, self.paths, out, crf)]

        def each(out: Path) -> list[Command]:
            out.mkdir()
            parts = [(path, out / path.name) for path in self.paths]
            return [do.writer_command(peer, [path], part, crf) for path, part in parts]

        ways = {f"{peer.name}-one": one, f"{peer.name}-each": each}
        tried = do.alternate(ways, self.folder / "tried", 1) if self.cores > 1 else {}
        names = sorted(ways, key=lambda name: tried[name][0].wall_s) if tried else list(ways)
        contenders = {f"ours-{peer.name}": self.ours(self.cores), names[0]: ways[names[0]]}
        results = do.alternate(contenders, self.folder, self.repeats)
        out = self.folder / ("tried" if tried else ".") / f"{peer.name}-one-0"
        title = f"{peer.name}'s {label} (AV1, crf {crf})"
        rows = self._rows(results, names[0], title, goal)
        found = do.quality(out, self.paths)
        is_alike = found.luma_db <= wanted.luma_db + 0.5
        slower = [
            Row(f"the same, {name}, once", "s", rows[0].ours, tried[name][0].wall_s)
            for name in names[1:]
            if tried
        ]
        marks = [
            Row(f"PSNR of brightness, against {title}", "dB", wanted.luma_db, found.luma_db),
            Row(f"PSNR of all colours, against {title}", "dB", wanted.rgb_db, found.rgb_db),
        ]
        size = Row(f"size, against {title}", "MB", do.size_mb([self.dataset()]), do.size_mb([out]))
        words = f"≥ {goal:g}x, brightness as true or ours truer"
        first = rows[0].with_goal(words, bool(rows[0].met) and is_alike)
        return [first, *slower, *rows[1:], *marks, size]

    def _short(self) -> Path:
        short = self.folder / "short" / "play-0"
        if not short.exists():
            short.parent.mkdir()
            write_bag(short, CRF_SECONDS)
        return short

    def _luma_db(self, peer: peers.Peer, crf: int) -> float:
        short = self._short()
        out = self.folder / f"crf-{peer.name}-{crf}"
        do.run([do.writer_command(peer, [short], out, crf)])
        found = do.quality(out, [short])
        print(f"{peer.name} at crf {crf}: {found.luma_db:.2f} dB", flush=True)
        return found.luma_db

    def _rows(self, results: dict[str, list[Run]], peer: str, title: str, goal: float) -> list[Row]:
        """Return our time against a peer's, and what that takes besides."""
        ours = median_run(next(runs for name, runs in results.items() if name.startswith("ours")))
        theirs = median_run(results[peer])
        way = {"one": "one process", "each": "a process a bag"}[peer.rpartition("-")[2]]
        ratio = theirs.wall_s / ours.wall_s
        what = f"convert, {self.cores} workers, against {title}, {way}"
        words = f"≥ {goal:g}x"
        cpu, memory = theirs.cpu_s / ours.cpu_s, theirs.peak_mb / ours.peak_mb
        return [
            Row(what, "s", ours.wall_s, theirs.wall_s, ratio, words, ratio >= goal),
            Row(f"CPU time, against {title}", "s", ours.cpu_s, theirs.cpu_s, cpu),
            Row(f"peak memory, against {title}", "MB", ours.peak_mb, theirs.peak_mb, memory),
        ]

    def against_forge(self) -> list[Row]:
        """Return how we compare with forge, which keeps the pictures' size."""
        contenders = {
            "ours-forge": self.ours(self.cores),
            "forge-each": lambda out: do.forge_commands(self.paths, out, 1),
        }
        trial = do.forge_commands(self.paths[:1], self.folder / "forge-trial", 1)
        do.run(trial, (0, 1))
        videos = list((self.folder / "forge-trial").rglob("*.mp4"))
        if not videos:
            raise SystemExit(f"{peers.FORGE.name} makes no picture of this recording: no row")
        results = do.alternate(contenders, self.folder, self.repeats)
        title = f"{peers.FORGE.name} (H.264, pictures of 640x480)"
        return self._rows(results, "forge-each", title, 5.0)


def median_run(runs: list[Run]) -> Run:
    """Return the medians of times, and the greatest memory."""
    wall_s, cpu_s = (statistics.median(getattr(r, name) for r in runs) for name in Run._fields[:2])
    return Run(wall_s, cpu_s, max(run.peak_mb for run in runs))
