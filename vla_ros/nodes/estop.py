"""The emergency stop: a latch that anybody may set and only a person's reset clears.

It is a stop in software, through this process and the network: the power switch is the one that
always works. It is forgotten when the process ends.
"""

import json
from collections.abc import Callable

from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from vla_ros.core.command_loop import CommandLoop
from vla_ros.nodes import qos
from vla_ros.nodes.lifetime import ShellNode


class EStop:
    """Serves stop and reset, and says on a latched topic which of them holds.

    Args:
        node: the node that commands the arm; it serves from its construction of this on.
        loop: what is stopped, and knows why.
        on_reset: called when a person clears the stop; returns what has to be done first, and then
            `loop.go_on` has to be called, or "" for nothing.
    """

    def __init__(self, node: ShellNode, loop: CommandLoop, on_reset: Callable[[], str]):
        self._logger = node.get_logger()
        self._loop = loop
        self._on_reset = on_reset
        self._said: str | None = None
        self._state = node.create_publisher(String, qos.STOP_STATE_TOPIC, qos.LATCHED)
        # Twice: a reliable subscription alone would not even see a best-effort publisher.
        for profile in (qos.ESTOP, qos.ESTOP_BEST_EFFORT):
            node.create_subscription(Bool, qos.ESTOP_TOPIC, self._on_topic, profile)
        node.create_service(Trigger, qos.STOP_SERVICE, self._on_stop_service)
        node.create_service(Trigger, qos.RESET_STOP_SERVICE, self._on_reset_service)
        self.say()

    def stop(self, reason: str) -> None:
        """Latch the stop; the first reason stays. The next command brakes."""
        self._loop.stop(reason)
        self.say()

    def say(self) -> None:
        """Publish the state when it is another than before."""
        reason = self._loop.stop_reason
        if reason == self._said:
            return
        self._said = reason
        if reason:
            self._logger.error(
                f"the arm is stopped: {reason}; {qos.RESET_STOP_SERVICE} lets it move again"
            )
        state = {"stopped": bool(reason), "reason": reason}
        self._state.publish(String(data=json.dumps(state, ensure_ascii=False)))

    def _on_topic(self, message: Bool) -> None:
        if message.data:
            self.stop(f"stop on {qos.ESTOP_TOPIC}")

    def _on_stop_service(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.stop(f"{qos.STOP_SERVICE} was called")
        response.success, response.message = True, f"stopped: {self._loop.stop_reason}"
        return response

    def _on_reset_service(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        reason = self._loop.stop_reason
        response.success = True
        response.message = "the arm may move again" if reason else "it was not stopped"
        if reason:
            self._logger.warning(f"reset by a person; it was stopped by: {reason}")
            self._loop.reset_stop(self._on_reset())
            self.say()
        return response
