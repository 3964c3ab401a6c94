"""What the two papers report, for a column beside ours; see docs/methods.md for where each is from.

Their cells are others' tasks, arms and trial counts: they are there to compare signs and sizes of
differences, not rates. TAP: success of 20 real trials (Table 3). APT: success of about 50 simulated
pick-and-place trials (Table 2); SO, UO, UC and UOUE are seen objects, unseen objects, unseen
container, and unseen objects in an unseen environment.
"""

_SCENARIOS = ("standard", "initial state", "distractors", "background", "viewpoint")
# Rates in percent: by row and cell of ours.
_TAP = {
    "scratch": {"carrot": (20, 20, 5, 0, 0), "pumpkin": (55, 45, 5, 0, 0)},
    "tap": {"carrot": (40, 30, 30, 25, 15), "pumpkin": (75, 75, 65, 65, 25)},
}
PAPER: dict[str, dict[str, dict[str, int]]] = {
    "tap": {
        row: {
            f"{task}/{scenario}": rate
            for task, rates in tasks.items()
            for scenario, rate in zip(_SCENARIOS, rates, strict=True)
        }
        for row, tasks in _TAP.items()
    },
    # Ours of unseen places has no cell of theirs, nor has theirs of chained tasks a number.
    "apt": {
        "single": {"seen": 90, "unseen objects": 58, "unseen combinations": 40},
        "single-full": {"seen": 88, "unseen objects": 56, "unseen combinations": 66},
        "two-frozen": {"seen": 96, "unseen objects": 74, "unseen combinations": 90},
        "two-full": {"seen": 98, "unseen objects": 84, "unseen combinations": 92},
    },
}
NOTES = {
    "tap": "Paper: TAP's Table 3, real WidowX-250s, 20 trials a cell, one run.",
    "apt": (
        "Paper: APT's Table 2, Rigid Pick-Place, about 50 trials a cell, one run; their seen "
        "objects, unseen objects and unseen container stand beside our seen, unseen objects and "
        "unseen combinations."
    ),
}
