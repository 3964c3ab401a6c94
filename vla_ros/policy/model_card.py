"""The model card of a checkpoint, in the form that model hubs read, and its licence."""

import json
from typing import Any

from vla_ros.core.contract import Contract

LICENCE_TEXT = """\
The weights of this folder that were trained by vla_ros are licensed under the Apache License,
Version 2.0; you may obtain a copy at https://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, they are distributed on an "AS IS"
BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. A backbone that was
pretrained by others, named in config.json, stays under its own licence.
"""
# Recordings that were learnt from are told in run.json where there are more.
_LONG = 100
METHODS = {
    "tap": ("TAP", "Task-Agnostic Pretraining for VLAs", "2607.02466"),
    "apt": ("APT", "APT: Action Expert Pretraining", "2606.12366"),
}


def model_card(method: str, backbone: dict, contract: Contract, run: dict) -> str:
    """Return the card in Markdown; `run` and `backbone` as in run.json and config.json."""
    name, title, number = METHODS[method]
    is_small = backbone["kind"] == "small"
    header = ["---", "license: apache-2.0", "library_name: vla_ros", "pipeline_tag: robotics"]
    if not is_small:
        # As JSON, which YAML reads: a name may hold anything.
        header.append(f"base_model: {json.dumps(backbone['name'])}")
    shape = " x ".join(map(str, contract.action.shape))
    lines = [
        *(*header, "---", ""),
        f"# {name}, Stage {run.get('stage', 'unknown')}, on {contract.robot_model}",
        "",
        f'A policy of vla_ros after "{title}" (arXiv {number}).',
        "",
        f"- Backbone: {'small, of vla_ros' if is_small else backbone['name']}",
        f"- Sees: {', '.join(contract.cameras)}, RGB, at {contract.rate_hz:g} Hz",
        f"- Does: {contract.action_space}, {shape} ({contract.action.unit})",
        f"- Trained for {run.get('steps_done', 'unknown')} steps, weights: "
        f"{run.get('weights', 'as trained')}",
        "",
        "A research model: it moves one arm in scenes like those of its data. Run it behind the",
        "speed and workspace limits of vla_ros, with somebody at the emergency stop.",
        "",
        "## Provenance",
        "",
        "```json",
        json.dumps(_shortened(run), indent=2),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _shortened(value: Any) -> Any:
    """Return plain JSON with the number of entries in place of lists that nobody reads."""
    if isinstance(value, dict | list) and len(value) > _LONG:
        return f"{len(value)} entries, in run.json"
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list) else value
