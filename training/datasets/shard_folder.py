"""OUT/.shards: what conversion keeps between runs, so that it goes on where it was cut off.

One folder a bag, named by the bag's content and all that shapes its frames; beside it refusals of
bags that yield nothing, the dataset's settings, and which bag lay where.
"""

import fcntl
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from training.datasets.dataset_folder import difference, refuse_other_dataset
from training.datasets.files import sync_file, sync_folder, write_text
from training.datasets.shard import Shard, open_shard
from vla_ros.core.contract import Contract
from vla_ros.core.errors import DatasetError

FOLDER = ".shards"
SETTINGS_FILE = "settings.json"
PATHS_FILE = "paths.json"
PLACES_FILE = "places.jsonl"
LOCK_FILE = "lock"
REFUSED_SUFFIX = ".refused.json"


@dataclass(frozen=True)
class Refusal:
    """A bag that yields nothing, and why."""

    label: str
    sha256: str
    reason: str


@contextmanager
def opened(out: Path, contract: Contract, options: dict) -> Iterator[Path]:
    """Give the folder of shards of the dataset `out`, made if need be, to this process alone.

    Raises:
        DatasetError: another conversion writes to it, `out` is of another contract or other
            options, or is no dataset of this converter.
        OSError: the disk refuses.
    """
    refuse_other_dataset(out, contract, options)
    folder = out / FOLDER
    if (out / "meta").exists() and not folder.exists():
        raise DatasetError(
            f"{out} exists already without the shards that more bags could be added to; "
            "choose another folder, or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"another conversion writes to {out}; wait for it, or choose another folder"
            ) from None
        _check_settings(out, folder, {"contract": contract.to_dict(), "options": options})
        _clear(folder)
        try:
            yield folder
        finally:
            # What a worker that died has left, an unpacked bag perhaps.
            with suppress(OSError):
                _clear(folder)


def _clear(folder: Path) -> None:
    """Remove what was not finished."""
    for leftover in folder.glob(".*.tmp"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def discard(out: Path) -> None:
    """Remove the shards of `out`, and `out` itself where it holds nothing else."""
    shutil.rmtree(out / FOLDER)
    with suppress(OSError):
        out.rmdir()


def _check_settings(out: Path, folder: Path, settings: dict) -> None:
    path = folder / SETTINGS_FILE
    here = json.loads(json.dumps(settings))
    if not path.exists():
        _write_json(path, here)
        return
    there = _read_json(path)
    for name, value in here.items():
        if there.get(name) != value:
            raise DatasetError(
                f"{out} was begun with other {name} ({difference(value, there.get(name))}); "
                f"choose another folder, or the same {name}"
            )


def is_done(folder: Path, key: str) -> bool:
    """Tell whether the shard or the refusal of `key` is there; a damaged shard is removed."""
    if (folder / f"{key}{REFUSED_SUFFIX}").exists():
        return True
    if not (folder / key).exists():
        return False
    try:
        open_shard(folder / key).check_frames()
    except DatasetError:
        shutil.rmtree(folder / key)
        return False
    return True


def write_refusal(folder: Path, key: str, refusal: Refusal) -> None:
    """Note that the bag of `key` yields nothing."""
    _write_json(folder / f"{key}{REFUSED_SUFFIX}", asdict(refusal))


def note_place(folder: Path, where: str, key: str) -> None:
    """Note that the bag at the resolved path `where` has `key` now, whatever comes after."""
    with (folder / PLACES_FILE).open("a", encoding="utf-8") as file:
        # A line of its own also behind one that a power cut has left half written.
        file.write(f"\n{json.dumps([where, key])}")
    sync_file(folder / PLACES_FILE)


def forget_changed(folder: Path) -> list[str]:
    """Remove the shards of bags that have changed since, and return where these bags are.

    A run that was stopped has noted its bags as well, so that none stays in two versions. A bag
    that lies elsewhere now goes by what it is called there.
    """
    path, noted = folder / PATHS_FILE, folder / PLACES_FILE
    before = _read_json(path) if path.exists() else {}
    places = [*before.items(), *_noted(noted)]
    now = dict(places)
    changed = sorted({where for where, key in places if now[where] != key})
    for where in _moved(folder, places, now):
        del now[where]
    for key in {key for _, key in places} - set(now.values()):
        shutil.rmtree(folder / key, ignore_errors=True)
        (folder / f"{key}{REFUSED_SUFFIX}").unlink(missing_ok=True)
    if now != before:
        _write_json(path, dict(sorted(now.items())))
    noted.unlink(missing_ok=True)
    return changed


def _moved(folder: Path, places: list[tuple[str, str]], now: dict[str, str]) -> list[str]:
    """Return places that are empty now, whose bag lies or lay at another one that is not."""
    gone = [where for where in now if not Path(where).exists()]
    if not gone:
        return []
    elsewhere = {key for where, key in places if where not in gone}
    contents = {_content(folder, key) for key in elsewhere} - {None}
    return [w for w in gone if now[w] in elsewhere or _content(folder, now[w]) in contents]


def _content(folder: Path, key: str) -> str | None:
    """Return the hash of the recording that `key` was made of; None where that is not there."""
    try:
        return open_shard(folder / key).facts.source_sha256
    except DatasetError:
        refused = folder / f"{key}{REFUSED_SUFFIX}"
        return _read_json(refused)["sha256"] if refused.exists() else None


def _noted(path: Path) -> list[tuple[str, str]]:
    places = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError):  # the last line of a run that was cut off
            where, key = json.loads(line)
            places.append((where, key))
    return places


def read_shards(folder: Path, checked: Collection[str] = ()) -> tuple[list[Shard], list[Refusal]]:
    """Return all shards and refusals, by label and content; a content that is there twice once.

    Where two bags have the same label, each gets the beginning of its hash.

    Args:
        folder: of the shards.
        checked: keys of those whose bytes were seen to be whole just now; others are read through.

    Raises:
        DatasetError: one is damaged.
    """
    shards = [open_shard(path) for path in folder.iterdir() if _is_shard(path)]
    for shard in shards:
        if shard.path.name not in checked:
            shard.check_frames()
    shards.sort(key=lambda shard: (shard.facts.label, shard.facts.source_sha256))
    refusals = [
        Refusal(**_read_json(path))
        for path in folder.iterdir()
        if path.name.endswith(REFUSED_SUFFIX)
    ]
    first: dict[str, str] = {}
    once = []
    for shard in shards:
        facts = shard.facts
        if facts.source_sha256 in first:
            same = f"the same recording as {first[facts.source_sha256]}"
            refusals.append(Refusal(facts.label, facts.source_sha256, same))
            continue
        first[facts.source_sha256] = facts.label
        once.append(shard)
    counts = Counter(shard.facts.label for shard in once)
    named = [shard if counts[shard.facts.label] == 1 else _renamed(shard) for shard in once]
    return named, sorted(refusals, key=lambda refusal: (refusal.label, refusal.sha256))


def _is_shard(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _renamed(shard: Shard) -> Shard:
    facts = shard.facts
    return replace(shard, facts=replace(facts, label=f"{facts.label}~{facts.source_sha256[:8]}"))


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is damaged ({error}); remove it and convert again") from None


def _write_json(path: Path, content: dict) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    write_text(temporary, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)
    sync_folder(path.parent)
