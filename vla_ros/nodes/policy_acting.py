"""What a policy does with the arm in a command period: asks, takes answers, goes on, or holds."""

from vla_ros.core.ask_time import AskTime
from vla_ros.core.contract import Contract
from vla_ros.core.errors import (
    KinematicsError,
    PictureError,
    RemoteError,
    SafetyError,
    StaleDataError,
    VlaError,
)
from vla_ros.core.picture_wait import PictureWait
from vla_ros.core.policy_motion import PolicyMotion, Question
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S, ArmClient
from vla_ros.nodes.arm_status import Status
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.policy_asking import Asker
from vla_ros.nodes.policy_facts import PolicyFacts
from vla_ros.nodes.preview import Preview

# The server is away, or what the policy needs is not seen, or is no picture.
_OUTAGES = (PictureError, RemoteError, StaleDataError)


class PolicyActing:
    """One motion of one policy's answers, and what there is to say of it.

    What is wrong with one answer - late, out of reach - leaves it out; what is wrong with what is
    seen, or with the network, holds the arm.

    Args:
        node: the node to live in.
        arm: what is moved.
        asker: the way to the policy.
        wait: for pictures.
        motion: what is made of its chunks.
        contract: the policy's.
        robot_name: the driver's namespace, for the preview.

    Attributes:
        motion: the same.
        facts: what the running episode was like so far.
        answers: how many there were since it was made, whatever came of them.
    """

    def __init__(
        self,
        node: ShellNode,
        arm: ArmClient,
        asker: Asker,
        wait: PictureWait,
        motion: PolicyMotion,
        contract: Contract,
        robot_name: str,
    ):
        self._logger, self._arm, self._asker = node.get_logger(), arm, asker
        self._period_s, self._horizon = 1.0 / contract.rate_hz, contract.action.shape[0]
        self._preview = Preview(node, robot_name)
        self._held_by: VlaError | None = None
        self._when = AskTime(motion, wait, COMMAND_PERIOD_S)
        self.motion, self.facts, self.answers = motion, PolicyFacts(), 0

    @property
    def why_held(self) -> str:
        """Why the arm is held because of what is seen or answered; empty where it is not."""
        return self.facts.problem if self._held_by is not None else ""

    @property
    def why_unanswered(self) -> str:
        """Same, where that is no fault of the policy's: it is away, or cannot be asked."""
        cause, sentence = self._arm.held_from_outside
        # While the arm is held for a camera, nobody is asked who could say that it is stale.
        if cause == "camera":
            return sentence
        return str(self._held_by) if isinstance(self._held_by, _OUTAGES) else ""

    @property
    def why_interrupted(self) -> str:
        """Why the arm is held for what came of nothing that the policy said; empty where not."""
        return self.why_unanswered or self._arm.held_from_outside[1]

    @property
    def counts(self) -> tuple[int, float]:
        """The steps of this episode, and what the last inference took [ms]."""
        return self.outcome["steps"], (self.facts.inference_ms or [0.0])[-1]

    @property
    def outcome(self) -> dict:
        """What the episode was like, for the results."""
        return self.facts.outcome(self.motion, 1.0 / self._period_s)

    def status(self, acts: bool) -> Status:
        """Return level, sentence and numbers, as `Diagnostics.set` takes them."""
        return self.facts.status(self.motion, acts)

    def begin_episode(self) -> None:
        """Count anew, and leave nothing of before."""
        self.facts, self._held_by = PolicyFacts(), None
        self.motion.restart_counts()
        # After a rest the next inference is a first one again.
        self.motion.queue.latency.restart()
        self.motion.begin_anew()

    def miss(self, reason: str) -> None:
        """Note that the policy could not be asked; that ends with its next answer."""
        if not isinstance(self._held_by, _OUTAGES):
            self._held_by, self.facts.problem = StaleDataError(reason), reason

    def tick(self, now_ns: int, task: str) -> None:
        """Go one period further, and ask for the next chunk where it is time."""
        if self._arm.blocked_reason:
            self.rest()
            return
        self.take_answer(now_ns)
        target = self.motion.tick(now_ns, *self._arm.commanded, self._arm.at_rest)
        if target is None:
            self._arm.hold()
        else:
            self._arm.follow(*target)
        if self._when.at_command(now_ns, self._asker.is_busy):
            self._ask_now(now_ns, task)

    def look(self, now_ns: int, task: str) -> None:
        """Ask, if it is about time, because a picture has just come."""
        if self._arm.blocked_reason:
            return
        if self._when.at_picture(now_ns, self._asker.is_busy):
            self._ask_now(now_ns, task)

    def rest(self) -> None:
        """Brake; what the pictures showed is over."""
        self._when.rest()
        self.motion.begin_anew()
        self._arm.hold()

    def show(self, now_ns: int, task: str) -> bool:
        """Ask for what would be done from where the arm is; return whether nobody was asked yet."""
        if self._asker.is_busy:
            return False
        self._ask(self.motion.ask_from(self._arm.commanded[0], now_ns), task, now_ns)
        return True

    def take_answer(self, now_ns: int) -> None:
        """Follow what was answered, if anything was, and show it."""
        taken = self._asker.take()
        if taken is None:
            return
        question, give = taken
        try:
            answer = give()
            if question.life != self.motion.life:
                return
            way = self.motion.take(question, answer.chunk, answer.way, now_ns)
        except (StaleDataError, KinematicsError, SafetyError) as error:
            if question.life == self.motion.life:
                self._held_by = None  # it did answer
                self.answers += 1
                self.facts.unused += 1
                self._complain(f"a chunk is not used: {error}")
            return
        except VlaError as error:
            if question.life == self.motion.life:
                self.answers += not isinstance(error, _OUTAGES)
                self._hold(error, now_ns)
            return
        self._held_by = None
        self.answers += 1
        ages_ms = self._asker.picture_age_ms, self._asker.age_ms
        self.facts.used(answer.act_ms, *ages_ms, way.cut)
        self._preview.show(way.plan)

    def _ask_now(self, now_ns: int, task: str) -> None:
        self._when.asked()
        self._ask(self.motion.ask(now_ns, self._period_s, self._horizon), task, now_ns)

    def _ask(self, question: Question, task: str, now_ns: int) -> None:
        try:
            self._asker.ask(question, task)
        except VlaError as error:
            self._hold(error, now_ns)

    def _hold(self, error: VlaError, now_ns: int) -> None:
        self.facts.held += self._held_by is None
        self._held_by = error
        self.motion.fail(now_ns, self._period_s)
        self._arm.hold()
        self._complain(f"holding: {error}")

    def _complain(self, sentence: str) -> None:
        self.facts.problem = sentence
        self._logger.warning(sentence, throttle_duration_sec=2.0)
