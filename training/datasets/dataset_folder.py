"""A dataset's folder as a whole: may it be written to, and how new content takes its place."""

import json
import shutil
from pathlib import Path

from training.datasets.files import sync_file, sync_folder, write_text
from training.datasets.lerobot_layout import INFO_FILE
from vla_ros.core.contract import Contract
from vla_ros.core.errors import DatasetError

BUILT = ".assembly"
REPLACED = ".assembly-old"
PARTS = ("data", "videos", "meta")
# What else may lie in a dataset's folder before there is a dataset.
BESIDE = (".shards", "cache")


def refuse_other_dataset(out: Path, contract: Contract, options: object) -> None:
    """Check that `out` is absent, without a dataset, or a dataset of this contract and options.

    Raises:
        DatasetError: it is something else, which is left as it is.
    """
    if not out.exists():
        return
    known = {*PARTS, *BESIDE, BUILT, REPLACED}
    foreign = sorted(p.name for p in out.iterdir() if p.name not in known)
    info_file = out / INFO_FILE
    if foreign and not info_file.exists():
        raise DatasetError(
            f"{out} exists and is no dataset (it holds {', '.join(foreign[:3])}); "
            "choose another folder"
        )
    if not info_file.exists():
        return
    try:
        ours = json.loads(info_file.read_text(encoding="utf-8"))["vla_ros"]
        theirs, their_options = ours["contract"], ours["provenance"].get("options")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DatasetError(
            f"{out} holds a dataset that was not written here; choose another folder"
        ) from None
    here = json.loads(json.dumps({"contract": contract.to_dict(), "options": options}))
    there = {"contract": theirs, "options": their_options}
    for name, value in here.items():
        if value != there[name]:
            raise DatasetError(
                f"{out} is a dataset of other {name} ({difference(value, there[name])}); "
                f"choose another folder, or the same {name}"
            )


def difference(here: object, there: object) -> str:
    if not (isinstance(here, dict) and isinstance(there, dict)):
        return f"{there} there, {here} here"
    keys = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    return "; ".join(f"{key}: {there.get(key)} there, {here.get(key)} here" for key in keys)


def begin(out: Path) -> Path:
    """Return an empty folder in `out` to build a dataset in; what a kill left there goes."""
    for name in (BUILT, REPLACED):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / BUILT / "meta").mkdir(parents=True)
    return out / BUILT


def swap_in(out: Path, info: str) -> None:
    """Put what was built into place, `info` (info.json's text) last.

    A kill on the way leaves a folder without meta/info.json, which no reader opens.
    """
    built, replaced = out / BUILT, out / REPLACED
    for file in built.rglob("*"):
        if file.is_file():
            sync_file(file)
    write_text(built / "info.json", info)
    (out / INFO_FILE).unlink(missing_ok=True)
    replaced.mkdir()
    for name in PARTS:
        if (out / name).exists():
            (out / name).rename(replaced / name)
        if (built / name).exists():
            (built / name).rename(out / name)
    sync_folder(out)
    (built / "info.json").rename(out / INFO_FILE)
    sync_folder(out / "meta")
    shutil.rmtree(replaced)
    shutil.rmtree(built)
