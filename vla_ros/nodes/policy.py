"""policy_node: a checkpoint and an instruction move the arm.

In each command period the motion that `core/policy_motion.py` makes of the policy's chunks goes one
step further. Where it wants another chunk, what is seen goes to the network, in a thread of its
own. What is wrong with one answer - late, out of reach - leaves it out; what is wrong with what is
seen, or with the network, holds the arm.
"""

import sys
import time
from collections.abc import Callable

from vla_ros.core import arm
from vla_ros.core.errors import EpisodeError, KinematicsError, SafetyError, StaleDataError, VlaError
from vla_ros.core.policy_motion import PolicyMotion
from vla_ros.core.task_run import Outcome, TaskRun
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S, ArmClient
from vla_ros.nodes.commander import CommanderNode
from vla_ros.nodes.deadman import DeadMan
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.inference import Inference
from vla_ros.nodes.lifetime import run
from vla_ros.nodes.params import ParameterError, on_change
from vla_ros.nodes.policy_asking import Answer, Asker
from vla_ros.nodes.policy_facts import PolicyFacts
from vla_ros.nodes.policy_inputs import PolicyInputs
from vla_ros.nodes.policy_loading import (
    expected_contract,
    load_runner,
    say_who_acts,
    strategy_of,
    who_acts,
)
from vla_ros.nodes.policy_parameters import PolicyParameters, require_task
from vla_ros.nodes.policy_results import PolicyResults, require_writable
from vla_ros.nodes.policy_task import TaskInput
from vla_ros.nodes.preview import Preview
from vla_ros.nodes.task_goals import Acting, TaskGoals
from vla_ros.nodes.task_server import build_sentence, do_task_type

__all__ = ["PolicyNode", "expected_contract", "load_runner", "main"]

# How long the network may take to end with the node [s, wall]; the arm is at rest by then.
_CLOSE_S = 1.0
# Python hands its lock over so often [s]: at its own 5 ms, the Python part of the network's thread
# (inverse kinematics of a chunk) would keep the commands waiting.
_SWITCH_S = 5e-4


class PolicyNode(CommanderNode):
    """Runs episodes with one checkpoint, of one task after the other."""

    parameters: PolicyParameters

    def __init__(self):
        super().__init__("policy", "policy", PolicyParameters)
        self._inference: Inference | None = None
        live = {"task": self._on_task_parameter, "speed_scale": self._on_speed_scale}
        on_change(self, PolicyParameters, live)

    def configure(self) -> None:
        """Load the checkpoint and have the network act once, so that its first step is no slower.

        Raises:
            ParameterError: there is no task or no checkpoint, or the policy cannot do the strategy.
            CheckpointError: the checkpoint is missing or damaged.
            ContractError: it was made for another arm, camera or action space.
            EpisodeError: the results cannot be written.
        """
        parameters = self.parameters
        task = self.get_parameter("task").value
        if task.strip():
            require_task(task)
        elif do_task_type() is None:
            raise ParameterError(f"parameter task of node policy is empty, and {build_sentence()}")
        require_writable(parameters.results)
        self._inference = inference = Inference()
        runner = load_runner(
            parameters.checkpoint, parameters.camera, parameters.device, parameters.threads
        )
        strategy = strategy_of(parameters.strategy, runner)
        inference.call(runner.warm_up)
        self._contract = runner.contract
        policy = who_acts(parameters.checkpoint, runner, strategy)
        say_who_acts(self.get_logger(), policy)
        self._results = PolicyResults(task, policy, parameters.results)
        super().configure()
        self.episodes.settings |= policy
        self._inputs = PolicyInputs(
            *(self, self.arm, runner, parameters.robot_name, parameters.image_max_age_s),
            # Of older ones the arm's monitor holds the arm anyway.
            state_max_age_s=parameters.monitor.stale_s,
        )
        self._asker = Asker(self, runner, self._inputs, self.limits, inference)
        self._motion = PolicyMotion(self.limits, COMMAND_PERIOD_S, strategy, parameters.handover)
        self._motion.queue.speed_scale = self.get_parameter("speed_scale").value
        self._facts, self._is_held = PolicyFacts(), False
        self._preview = Preview(self, parameters.robot_name)
        say = None if parameters.dry_run else self.episodes.say_task
        # Without a task of its own it waits for others'.
        self._serves = not task.strip() and not parameters.dry_run
        self._task = TaskInput(self, task, say, self._on_new_task, is_open=not self._serves)
        acting = Acting(self._task.give, self._episode, self._counts, self._why_held)
        self._goals = TaskGoals(self, parameters.episode_s, acting, self._why_busy)
        if parameters.deadman_s and not parameters.dry_run:
            DeadMan(self, self.arm, parameters.deadman_s)

    def meet_arm(self) -> ArmClient:
        """Return the way to the arm; in a dry run one that leads nowhere."""
        if not self.parameters.dry_run:
            return super().meet_arm()
        from vla_ros.nodes.watched_arm import WatchedArm

        watched = WatchedArm(self, self.parameters.robot_name, self.limits)
        return watched  # type: ignore[return-value]  # all of it that a dry run uses

    def mission(self) -> Steps:
        """Run the episodes, then park, also where one failed."""
        yield from self.until_active()
        if self.parameters.dry_run:
            yield from self._show()
        else:
            yield from self.parked_after(self._goals.serve() if self._serves else self._episodes())

    def _episodes(self) -> Steps:
        """Run each from the ready pose on a fresh scene, or on from where another task cut one."""
        number, count, goes_on = 0, 0, False
        while not self.parameters.episodes or count < self.parameters.episodes:
            yield from self.until_free()
            while not self._task.text:
                self.phase = "waiting for a task"
                yield
            if not goes_on:
                yield from self.go_to(arm.READY_RAD, 1.0)
                if self.scene_can_reset:
                    yield from self.reset_scene()
            run = TaskRun(self.parameters.episode_s)
            yield from self._episode(f"policy-{number:05d}", run)
            goes_on = run.ending.outcome == Outcome.CANCELLED
            number += 1
            count += run.has_begun and not goes_on

    def _episode(self, episode_id: str, run: TaskRun) -> Steps:
        """Run one until `run` is over, which another task ends as well, also before it begins."""
        task = self._task.text
        begin = self._begin(episode_id, task)
        if not (yield from self._goals.unless_over(begin, run, lambda: self._why_unwanted(task))):
            # Of no motion there is nothing to keep; the recorder may not have answered yet.
            self.episodes.abandon("discard")
            return
        self.phase = f"acting: {task}"
        self._facts, self._is_held = PolicyFacts(), False
        self._motion.restart_counts()
        # After a rest the next inference is a first one again.
        self._motion.queue.latency.restart()
        self._motion.begin_anew()
        sim = self._goals.judge_anew(task)
        run.begin()
        try:
            # While the policy acts, the arm holds without pictures; on its own ways it needs none.
            self._inputs.need_cameras(True)
            self.acting = True
            while run.judge(self._goals.facts(self._why_unwanted(task))) is None:
                self.episodes.check()
                yield
        finally:
            self.acting = False
            self._inputs.need_cameras(False)
        yield from self.settle()
        outcome, reason = run.ending.outcome, run.ending.message
        success = {Outcome.SUCCEEDED: True, Outcome.FAILED: False}.get(outcome, sim.success)
        yield from self.episodes.end(success, reason)
        self._note(episode_id, task, sim.partial, success, run.elapsed_s, reason)

    def _begin(self, episode_id: str, task: str) -> Steps:
        yield from self._until_seen()
        yield from self.episodes.begin(episode_id, task)

    def _why_unwanted(self, task: str) -> str:
        return "another task" if self._task.text != task else ""

    def _until_seen(self) -> Steps:
        deadline = time.monotonic() + self.parameters.driver_wait_s
        while missing := self._inputs.streams.missing():
            if time.monotonic() > deadline:
                raise EpisodeError(f"{missing} (waited {self.parameters.driver_wait_s:g} s)")
            yield

    def _show(self) -> Steps:
        """Ask the policy at its rate, for as long as the episodes would take, and show its ways."""
        yield from self._until_seen()
        self.phase = "dry run: the arm is not commanded"
        start_ns = asked_ns = self.now_ns
        total_ns = int(self.parameters.episodes * self.parameters.episode_s * 1e9)
        while not total_ns or self.now_ns - start_ns < total_ns:
            now_ns = self.now_ns
            is_due = not 0 <= now_ns - asked_ns < 1e9 / self._contract.rate_hz
            if is_due and self._task.text and not self._asker.is_busy:
                asked_ns = now_ns
                self._ask(self._motion.ask_from(self.arm.commanded[0], now_ns))
            self._take_answer(now_ns)
            yield

    # --- goals of others ---

    def _steps_to_rest(self, reason: str, then: Callable[[], None]) -> Steps:
        steps = super()._steps_to_rest(reason, lambda: None)
        return self._goals.come_to_rest(steps, reason, then)

    def _why_busy(self) -> str:
        if self.parameters.dry_run:
            return "node policy only shows what it would do: start it without dry_run"
        if self._serves:
            return ""
        return f"node policy has a task of its own, {self._task.text!r}: start it without one"

    def _why_held(self) -> str:
        return self._facts.problem if self._is_held else ""

    def _counts(self) -> tuple[int, float]:
        steps = self._facts.outcome(self._motion, self._contract.rate_hz)["steps"]
        return steps, (self._facts.inference_ms or [0.0])[-1]

    # --- what the policy is told ---

    def _on_task_parameter(self, task: str) -> None:
        if self._inference is not None:  # else it is taken at configure
            self._task.set(task)

    def _on_new_task(self) -> None:
        # What the old task asked for, and what is still being inferred for it, is over.
        self._motion.begin_anew()
        if self.acting:
            self.acting = False
            self.arm.hold()

    def _on_speed_scale(self, scale: float) -> None:
        if self._inference is not None:
            self._motion.queue.speed_scale = scale

    # --- what the policy does ---

    def on_tick(self) -> None:
        """Go one period further, and ask for the next chunk where it is time."""
        now_ns = self.now_ns
        if self.arm.blocked_reason:
            # What the pictures showed is over.
            self._motion.begin_anew()
            self.arm.hold()
            return
        self._take_answer(now_ns)
        target = self._motion.tick(now_ns, *self.arm.commanded, self.arm.at_rest)
        if target is None:
            self.arm.hold()
        else:
            self.arm.follow(*target)
        if self._motion.wants_chunk(now_ns) and not self._asker.is_busy:
            horizon = self._contract.action.shape[0]
            self._ask(self._motion.ask(now_ns, 1.0 / self._contract.rate_hz, horizon))

    def _ask(self, question) -> None:
        try:
            self._asker.ask(question, self._task.text)
        except VlaError as error:
            self._hold(str(error))

    def _take_answer(self, now_ns: int) -> None:
        taken = self._asker.take()
        if taken is None:
            return
        question, give = taken
        try:
            answer: Answer = give()
            if question.life != self._motion.life:
                return
            way = self._motion.take(question, answer.chunk, answer.way, now_ns)
        except (StaleDataError, KinematicsError, SafetyError) as error:
            if question.life == self._motion.life:
                self._facts.unused += 1
                self._complain(f"a chunk is not used: {error}")
            return
        except VlaError as error:
            if question.life == self._motion.life:
                self._hold(str(error))
            return
        self._is_held = False
        self._facts.used(answer.act_ms, self._asker.age_ms(answer), way.cut)
        self._preview.show(way.plan)

    def _hold(self, reason: str) -> None:
        self._facts.held += not self._is_held
        self._is_held = True
        self._motion.fail(self.now_ns, 1.0 / self._contract.rate_hz)
        self.arm.hold()
        self._complain(f"holding: {reason}")

    def _complain(self, sentence: str) -> None:
        self._facts.problem = sentence
        self.get_logger().warning(sentence, throttle_duration_sec=2.0)

    # --- results ---

    def _note(self, episode_id: str, task: str, partial, success, duration_s: float, reason: str):
        outcome = self._facts.outcome(self._motion, self._contract.rate_hz)
        self.get_logger().info(
            f"{episode_id}: success {success}, partial {partial}, {outcome['steps']} steps"
        )
        self._results.add(
            {
                "episode_id": episode_id,
                "task": task,
                "layout_seed": self.task_state.get("layout_seed"),
                "partial": partial,
                "success": success,
                "reason": reason,
                "duration_s": round(duration_s, 3),
                **outcome,
            }
        )

    def say_status(self) -> None:
        """Put the policy beside the mission and the arm on /diagnostics."""
        super().say_status()
        self.diagnostics.set("policy", *self._facts.status(self._motion, self.acting))

    def close(self) -> None:
        """Leave the running inference, after a moment."""
        super().close()
        inference, self._inference = self._inference, None
        if inference is not None and not inference.close(_CLOSE_S):
            self.get_logger().warning(f"the network still computes after {_CLOSE_S:g} s: left")


def main() -> int:
    """Run policy_node; the entry of scripts/policy_node."""
    sys.setswitchinterval(_SWITCH_S)
    return run(PolicyNode, "policy_node")
