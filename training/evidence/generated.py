"""What a folder of generated bags says of itself: settings, and attempts that failed."""

import json
import os
from pathlib import Path

from training.datasets.files import write_text
from vla_ros.core.errors import BagError

SETTINGS_FILE, FAILED_FILE = "generated.json", "failed.json"


def read_failed(out: Path) -> dict[int, str]:
    """Return why attempts failed, by their number; BagError where the file cannot be read."""
    path = out / FAILED_FILE
    if not path.exists():
        return {}
    try:
        return {int(key): str(reason) for key, reason in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise BagError(f"{path} cannot be read ({error}); delete it, failures repeat") from None


def settle(out: Path, settings: dict) -> None:
    """Keep the settings of all bags of `out`, or make sure that they are the same.

    Raises:
        BagError: they are not, or the folder cannot be written.
    """
    path = out / SETTINGS_FILE
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Settings that have come to nothing yet may be mended.
        if not (out / FAILED_FILE).exists() and not any(one.is_dir() for one in out.iterdir()):
            _write(path, settings)
        there = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BagError(f"{path} cannot be used ({error}); choose another --out") from None
    differ = [f"{k} {there.get(k)!r}" for k, value in settings.items() if there.get(k) != value]
    if differ:
        raise BagError(
            f"{out} holds what was generated with {', '.join(differ)}; choose another --out, or "
            "give the same"
        )


def write_failed(out: Path, failed: dict[int, str]) -> None:
    """Keep why attempts failed, by their number."""
    _write(out / FAILED_FILE, {str(key): failed[key] for key in sorted(failed)})


def _write(path: Path, content: dict) -> None:
    """Write JSON that is whole or absent."""
    new = path.with_name(f"{path.name}.new")
    write_text(new, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    os.replace(new, path)
