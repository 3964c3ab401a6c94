"""Who touches whom: contacts between fingers and toys, and bodies that touch nobody."""

import numpy as np

from vla_ros.sim.gl import mujoco

# A finger presses on what it touches when the contact's normal is this much along its travel.
_GRASP_NORMAL = 0.7


class Contacts:
    """Looks into the contacts of a model, and takes bodies out of them.

    Args:
        model: as loaded; the masks of its geoms are what a solid body gets back.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._fingers = {model.body(f"{side}_finger").id for side in ("left", "right")}
        self._masks = (
            (model.geom_contype, model.geom_contype.copy(), model.body_contype),
            (model.geom_conaffinity, model.geom_conaffinity.copy(), model.body_conaffinity),
        )

    def set_solid(self, body: int, is_solid: bool) -> None:
        """Let a body touch others, or not: what is not solid costs the search for contacts little.

        MuJoCo looks at the masks of a body, which are those of all its geoms, before any geom's.
        """
        first = self._model.body_geomadr[body]
        geoms = slice(first, first + self._model.body_geomnum[body])
        for of_geoms, original, of_bodies in self._masks:
            of_geoms[geoms] = original[geoms] if is_solid else 0
            of_bodies[body] = np.bitwise_or.reduce(of_geoms[geoms])

    def is_touched(self, data: mujoco.MjData, body: int) -> bool:
        """Return whether a finger touches the body."""
        return bool(self._of_fingers(data, body))

    def is_held(self, data: mujoco.MjData, body: int, travel: np.ndarray) -> bool:
        """Return whether both fingers press on the body, along their travel (3,)."""
        pressing = {
            finger
            for finger, normal in self._of_fingers(data, body)
            if abs(normal @ travel) > _GRASP_NORMAL
        }
        return pressing == self._fingers

    def _of_fingers(self, data: mujoco.MjData, body: int) -> list[tuple[int, np.ndarray]]:
        """Return (finger's body, normal (3,)) of each contact between it and the body."""
        contact, found = data.contact, []
        for k in range(data.ncon):
            pair = {int(b) for b in self._model.geom_bodyid[contact.geom[k]]}
            fingers = pair & self._fingers
            if body in pair and fingers:
                found.append((fingers.pop(), contact.frame[k, :3]))
        return found
