"""Errors of the stand-in: each message is one sentence a user can act on."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Iterable

REAL_PACKAGE_HINT = "it needs the real launch package of a ROS 2 install"


class LaunchError(Exception):
    """A launch cannot go on; the message says what, where and the remedy."""


class NotInStandInError(LaunchError, ImportError):
    """A launch file uses a construct that only the real packages have.

    An ImportError, so that ``from launch.actions import Name`` carries this message out: Python
    replaces an AttributeError from a module's ``__getattr__`` by its own text, nothing else.
    """


def missing_names(module: str) -> Callable[[str], object]:
    """Return a module-level ``__getattr__`` that names whatever ``module`` lacks.

    Underscored names raise AttributeError, since Python itself probes for them.
    """

    def __getattr__(name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # "from launch import actions" asks here before it imports the module of that name.
        if importlib.util.find_spec(module).submodule_search_locations and importlib.util.find_spec(
            f"{module}.{name}"
        ):
            return importlib.import_module(f"{module}.{name}")
        raise NotInStandInError(
            f"the launch stand-in has no {module}.{name}: {REAL_PACKAGE_HINT}",
            name=module,
        )

    return __getattr__


def refuse_keywords(construct: str, keywords: Iterable[str]) -> None:
    """Raise NotInStandInError when any keyword argument is left over."""
    names = ", ".join(f"{name}=" for name in sorted(keywords))
    if names:
        raise NotInStandInError(
            f"the launch stand-in has no {names} for {construct}: {REAL_PACKAGE_HINT}"
        )


def near_names(name: str, known: Iterable[str], limit: int = 6) -> str:
    """Return the names in ``known`` nearest to ``name`` (or the first ones), comma-separated."""
    candidates = sorted(set(known))
    close = difflib.get_close_matches(name, candidates, n=limit, cutoff=0.5)
    shown = close or candidates[:limit]
    rest = "" if close or len(candidates) <= limit else ", …"
    return (", ".join(shown) + rest) if shown else "none"
