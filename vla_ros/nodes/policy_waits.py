"""What a policy's episodes wait for: answers that stay away, servos that are asked, a free arm."""

from vla_ros.core.errors import EpisodeError
from vla_ros.core.task_run import Outcome, TaskRun
from vla_ros.nodes.commander import CommanderNode
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.policy_acting import PolicyActing
from vla_ros.nodes.policy_inputs import PolicyInputs

# In a long episode the arm rests for a moment after so long, and its servos are asked [s].
_ASK_AFTER_S = 60.0
# How often a policy that does not answer is asked between two episodes [s, wall].
_ASK_AGAIN_S = 0.5


class PolicyWaits:
    """Watches an episode for what is no doing of its policy, and waits for the next one.

    An outage - a server that is away, a picture that is missing or frozen, or one after the other -
    goes on from one episode to the next until there was an answer, and after a camera's also
    another picture: that one is frozen shows only once the arm has moved.

    Args:
        node: whose episodes they are.
        acts: who asks the policy.
        inputs: what it sees.
        outage_s: how long an outage may take in all [s, node's time]; inf: for ever.

    Attributes:
        pauses: whether the arm rests while its servos are asked, and the policy is not.
    """

    def __init__(
        self, node: CommanderNode, acts: PolicyActing, inputs: PolicyInputs, outage_s: float
    ):
        self._node, self._acts, self._inputs = node, acts, inputs
        self._outage_s = outage_s
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was before the node was activated."""
        self.pauses = False
        self._outage_ns: int | None = None
        self._missing, self._answers = "", 0
        self._was_blind = False

    @property
    def too_long(self) -> str:
        """Why it makes no sense to ask any more; empty while it does."""
        since_ns, now_ns = self._outage_ns, self._node.now_ns
        lasts = since_ns is not None and bool(self._acts.why_unanswered)
        if not lasts or now_ns - since_ns < self._outage_s * 1e9:
            return ""
        return (
            f"the policy could not be asked, or did not answer, for {self._outage_s:g} s "
            f"(outage_s): {self._missing}; see to that, then start the node again"
        )

    # --- in an episode ---

    def watch(self, run: TaskRun) -> Steps:
        """Take a step in each period of an episode, for ever; may end its run."""
        asked_ns = self._node.now_ns
        while True:
            self._note_outage()
            if too_long := self.too_long:
                run.end(Outcome.HELD, too_long)
            if not 0 <= self._node.now_ns - asked_ns < _ASK_AFTER_S * 1e9:
                yield from self._ask_servos(run)
                asked_ns = self._node.now_ns
            yield

    def _ask_servos(self, run: TaskRun) -> Steps:
        """Brake, and ask the servos how they are: a policy hardly ever rests by itself."""
        self.pauses = True
        try:
            while not self._node.arm.at_rest:
                yield
            yield from self._node.ask_servos()
        finally:
            self.pauses = False
        self.require_cool(run)

    def require_cool(self, run: TaskRun) -> None:
        """End a run where a servo is so warm that all have to rest."""
        if warm := self._node.arm.warm_reason:
            run.end(Outcome.ERROR, f"the motors have to rest: {warm}")

    # --- between two ---

    def until_answered(self, task: str) -> Steps:
        """Ask from where the arm rests: without answers there is nothing to begin.

        Returns whether it had to be asked, which is done once.

        Raises:
            EpisodeError: there was none for too long.
        """
        if not self._acts.why_unanswered:
            return False
        node = self._node
        self._note_outage()
        if too_long := self.too_long:
            raise EpisodeError(too_long)
        node.phase = f"waiting for the policy's answer: {self._acts.why_unanswered}"
        self._acts.show(node.now_ns, task)
        yield from node.wait_steady(_ASK_AGAIN_S)
        self._acts.take_answer(node.now_ns)
        self._note_outage()
        return True

    def until_let(self) -> Steps:
        """Wait while the arm is kept from moving, but for a stop: there is nothing to record.

        Returns whether it was, and may be elsewhere now.
        """
        node, waited = self._node, False
        while reason := node.arm.blocked_reason:
            waited = True
            if node.arm.stopped:
                break
            node.phase = f"waiting to begin: {reason}"
            # A raised arm grows warm.
            yield from node.ask_servos()
            yield
        return waited

    def end_held(self, episode_id: str, reason: str) -> None:
        """Note an episode that ended because the arm was held, which is no result."""
        self._node.get_logger().warning(f"{episode_id} does not count: {reason}")
        if self._outage_ns is not None:
            # What the arm saw of it ends with the episode; what is asked next tells more.
            self._acts.miss(self._missing)

    def _note_outage(self) -> None:
        missing = self._acts.why_unanswered
        if missing:
            if self._outage_ns is None:
                self._outage_ns, self._was_blind = self._node.now_ns, False
                self._inputs.remember()
            self._missing, self._answers = missing, self._acts.answers
            self._was_blind |= self._node.arm.held_from_outside[0] == "camera"
            return
        # That one thing is back is not all: another may be away, and is found out by asking.
        is_answered = self._acts.answers > self._answers
        if is_answered and not (self._was_blind and self._inputs.are_remembered):
            self._outage_ns = None
