"""What the recorder says of an episode: on /vla/recording, on /diagnostics and in the log."""

from std_msgs.msg import String

from vla_ros.core.episode import RecordingState
from vla_ros.nodes import qos
from vla_ros.nodes.diagnostics import ERROR, OK, Diagnostics
from vla_ros.nodes.lifetime import ShellNode

_STATUS = "recording"


class Answers:
    """Publishes the states of episodes.

    Args:
        node: the recorder.
        diagnostics: the node's.
    """

    def __init__(self, node: ShellNode, diagnostics: Diagnostics):
        self._log = node.get_logger()
        self._states = node.create_publisher(String, qos.RECORDING_TOPIC, qos.LATCHED)
        self._diagnostics = diagnostics
        self._saved = 0

    def tell(
        self,
        episode_id: str,
        state: str,
        detail: str = "",
        path: str = "",
        missing: tuple[str, ...] = (),
    ) -> None:
        """Publish a state as `RecordingState` has it; a failure is on /diagnostics at once."""
        said = RecordingState(episode_id, state, path, missing, detail)
        self._states.publish(String(data=said.to_json()))
        self._saved += state == "saved"
        if state == "failed":
            self.warn(episode_id, detail)
        if state in ("saved", "discarded", "failed"):
            # `fail` prints its own sentence at the end; the log has every episode's fate.
            words = " ".join(filter(None, (state, path, detail)))
            self._log.info(f"{episode_id}: {words}")

    def warn(self, episode_id: str, sentence: str) -> None:
        """Put on /diagnostics why nothing is recorded."""
        self._diagnostics.set(_STATUS, ERROR, sentence, self._values(episode_id))

    def report(self, episode_id: str, state: str) -> None:
        """Set the status of the recording: idle, waiting or recording."""
        self._diagnostics.set(_STATUS, OK, state, self._values(episode_id))

    def _values(self, episode_id: str) -> dict[str, object]:
        return {"episode": episode_id, "saved": self._saved}
