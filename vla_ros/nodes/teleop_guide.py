"""Leading the arm by hand: its torque goes only with a person's confirmation, and comes back where
the arm is.
"""

import time

from std_srvs.srv import SetBool

from vla_ros.core import arm as facts
from vla_ros.core import kinematics
from vla_ros.core.errors import SafetyError
from vla_ros.core.teleop_takes import Confirmation
from vla_ros.nodes.arm_client import ArmClient
from vla_ros.nodes.arm_torque import why_not_release
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.lifetime import ShellNode

# A second request confirms from so much to so much after the last [s]. Terminals repeat a held key
# for the first time after at most 1 s.
_CONFIRM_AFTER_S, _CONFIRM_WITHIN_S = 1.5, 10.0


class HandGuide:
    """Makes the arm limp and stiff, by `~/torque` and whatever else says so.

    Args:
        node: the node to live in.
        arm: the arm.
    """

    def __init__(self, node: ShellNode, arm: ArmClient):
        self._arm = arm
        self._confirmation = Confirmation(_CONFIRM_AFTER_S, _CONFIRM_WITHIN_S)
        node.create_service(SetBool, "~/torque", self._on_torque)

    @property
    def would_fall(self) -> str:
        """Why the arm falls without torque; empty where it lies in its cradle."""
        if self._arm.measured is None:
            return "nobody knows where the arm is"
        return why_not_release(facts.SLEEP_RAD, self._arm.measured[0], True)

    def switch(self, enable: bool) -> tuple[bool, str]:
        """Switch the torque; return whether that was done, and a sentence for the person.

        An arm that would fall is let go with the second of two requests.
        """
        arm = self._arm
        if arm.asks_torque:
            return False, (
                "the driver is still asked for the last switch of the torque: go on holding the "
                "arm, and ask again when it has answered"
            )
        if enable:
            self._confirmation.forget()
            try:
                arm.set_torque(True)
            except SafetyError as error:
                return False, str(error)
            return True, (
                "the torque is asked for: go on holding the arm until the log says that it holds"
            )
        if not arm.active or arm.measured is None:
            return False, "the torque stays on: the arm is not active yet; wait for it"
        if arm.is_limp:
            return True, "the arm is limp already"
        if not arm.at_rest:
            return False, "the torque stays on: the arm moves; wait until it rests"
        if self.would_fall and not self._confirmation.ask(time.monotonic()):
            height_m = kinematics.forward(arm.measured[0])[2, 3]
            return False, (
                f"the torque stays on: the arm would fall, its tool is {height_m:.2f} m up; hold "
                f"it with both hands, and ask once more, {_CONFIRM_AFTER_S:g} to "
                f"{_CONFIRM_WITHIN_S:g} s from now"
            )
        arm.set_torque(False)
        return True, "hold the arm: it is limp now"

    def require_held(self) -> None:
        """Raise SafetyError where the arm would fall but for a person's hands."""
        if self._arm.is_limp and self.would_fall:
            raise SafetyError(
                "the arm is limp and raised, and once inactive nothing would make it stiff: call "
                "~/torque with true, wait until the log says that it holds, then deactivate"
            )

    def take_hold(self, limit_s: float) -> Steps:
        """Have the servos hold an arm that would fall when nobody holds it any more.

        Args:
            limit_s: how long the driver is waited for [s, wall].

        Raises:
            SafetyError: they do not, or nobody knows: the arm is in the person's hands.
        """
        if not (self._arm.is_limp and self.would_fall):
            return
        try:
            self._arm.set_torque(True)
        except SafetyError as error:
            raise SafetyError(f"the node ends with a limp arm, hold it: {error}") from error
        deadline_s = time.monotonic() + limit_s
        while self._arm.is_limp:
            if time.monotonic() > deadline_s:
                raise SafetyError(
                    "the node ends with a limp arm, hold it: the driver did not answer "
                    f"torque_enable for {limit_s:g} s; lay the arm down, then look at the driver"
                )
            yield

    def _on_torque(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self.switch(request.data)
        return response
