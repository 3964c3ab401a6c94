"""policy_node: a checkpoint and an instruction move the arm.

In each command period the motion that `core/policy_motion.py` makes of the policy's chunks goes one
step further: `PolicyActing`. Here is what is around that: tasks, episodes, and what ends them.
"""

import math
import sys
from collections.abc import Callable

from vla_ros.core import arm
from vla_ros.core.policy_motion import PolicyMotion
from vla_ros.core.task_run import HELD_LIMIT_S, Outcome, TaskRun
from vla_ros.nodes import policy_loading
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S, ArmClient
from vla_ros.nodes.commander import CommanderNode
from vla_ros.nodes.deadman import DeadMan
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.inference import Inference
from vla_ros.nodes.lifetime import run
from vla_ros.nodes.overlays import overlays_for
from vla_ros.nodes.params import ParameterError, on_change
from vla_ros.nodes.policy_acting import PolicyActing
from vla_ros.nodes.policy_asking import Asker
from vla_ros.nodes.policy_inputs import PolicyInputs
from vla_ros.nodes.policy_loading import load_runner
from vla_ros.nodes.policy_parameters import PolicyParameters, require_task
from vla_ros.nodes.policy_results import PolicyResults, require_writable
from vla_ros.nodes.policy_task import TaskInput
from vla_ros.nodes.policy_waits import PolicyWaits
from vla_ros.nodes.priority import raise_priority
from vla_ros.nodes.task_goals import Acting, TaskGoals
from vla_ros.nodes.task_server import build_sentence, do_task_type

# How long the network may take to end with the node [s, wall]; the arm is at rest by then.
_CLOSE_S = 1.0
# Python hands its lock over so often [s]: at its own 5 ms, the Python part of the network's thread
# (inverse kinematics of a chunk) would keep the commands waiting.
_SWITCH_S = 5e-4


class PolicyNode(CommanderNode):
    """Runs episodes with one checkpoint, of one task after the other.

    Args:
        is_alone: whether its thread is its own, and may be given another priority.
    """

    parameters: PolicyParameters

    def __init__(self, is_alone: bool = False):
        super().__init__("policy", "policy", PolicyParameters)
        self._is_alone = is_alone
        self._inference: Inference | None = None
        self._runner: object = None
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
        parameters = policy_loading.with_shipped(parameters)
        self._inference = inference = Inference()
        self._runner = runner = load_runner(parameters)
        strategy = policy_loading.strategy_of(parameters.strategy, runner)
        inference.call(runner.warm_up)
        self._contract = runner.contract
        policy = policy_loading.who_acts(parameters, runner, strategy)
        policy_loading.say_who_acts(self.get_logger(), policy)
        self._results = PolicyResults(task, policy, parameters.results)
        super().configure()
        self.episodes.settings |= policy
        self._inputs = PolicyInputs(
            *(self, self.arm, runner, parameters.robot_name, parameters.image_max_age_s),
            # Of older ones the arm's monitor holds the arm anyway.
            state_max_age_s=parameters.monitor.stale_s,
        )
        motion = PolicyMotion(self.limits, COMMAND_PERIOD_S, strategy, parameters.handover)
        motion.queue.speed_scale = self.get_parameter("speed_scale").value
        answered = overlays_for(self, runner, inference, parameters)
        asker = Asker(self, runner, self._inputs, self.limits, inference, answered)
        self._acts = acts = PolicyActing(
            self, self.arm, asker, self._inputs.wait, motion, runner.contract, parameters.robot_name
        )
        self._inputs.on_picture = self._on_picture
        say = None if parameters.dry_run else self.episodes.say_task
        # Without a task of its own it waits for others'.
        self._serves = not task.strip() and not parameters.dry_run
        # A goal ends as soon as it is held for long, and who asks for another one is somebody else.
        outage_s = math.inf if self._serves else parameters.outage_s
        self._waits = waits = PolicyWaits(self, acts, self._inputs, outage_s)
        self._task = TaskInput(self, task, say, self._on_new_task, is_open=not self._serves)
        acting = Acting(
            *(self._task.give, self._episode, lambda: acts.counts),
            *(lambda: acts.why_held, lambda: acts.why_interrupted, lambda: waits.pauses),
        )
        self._goals = TaskGoals(self, parameters.episode_s, acting, self._why_busy)
        if parameters.deadman_s and not parameters.dry_run:
            DeadMan(self, self.arm, parameters.deadman_s)

    def activate(self) -> None:
        """Have commands come first from here on, where time is real, and begin."""
        priority, is_elsewhere = self.parameters.realtime_priority, policy_loading.is_elsewhere
        is_real = self._is_alone and not self.get_parameter("use_sim_time").value
        refused = raise_priority(priority, is_elsewhere(self._runner)) if is_real else ""
        if refused:
            self.get_logger().info(f"commands have no real-time priority: {refused}")
        super().activate()

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
        self._waits.begin_anew()
        if self.parameters.dry_run:
            yield from self._show()
        else:
            yield from self.parked_after(self._goals.serve() if self._serves else self._episodes())

    def _episodes(self) -> Steps:
        """Run each from the ready pose on a fresh scene, or on from where another task cut one."""
        number, count, goes_on = 0, 0, False
        while not self.parameters.episodes or count < self.parameters.episodes:
            if (yield from self.until_free()):
                goes_on = False
            if self.arm.warm_reason:
                yield from self.rest_motors()
                goes_on = False
            if not self._task.text:
                # A raised arm grows warm, and may be stopped and moved by hand meanwhile.
                self.phase = "waiting for a task"
                yield
                continue
            if (yield from self._waits.until_answered(self._task.text)):
                continue
            if (yield from self._waits.until_let()):
                continue
            if not goes_on:
                yield from self.go_to(arm.READY_RAD, 1.0)
                if self.scene_can_reset:
                    yield from self.reset_scene()
            if not self._task.text or self.arm.blocked_reason:
                continue
            run = TaskRun(self.parameters.episode_s, HELD_LIMIT_S)
            yield from self._episode(f"policy-{number:05d}", run)
            goes_on = run.ending.outcome == Outcome.CANCELLED
            number += 1
            # What a policy that was kept from it has not done is no failure of it.
            count += run.has_begun and not goes_on and run.ending.outcome != Outcome.HELD

    def _episode(self, episode_id: str, run: TaskRun) -> Steps:
        """Run one until `run` is over, which another task ends as well, also before it begins."""
        task = self._task.text
        self._waits.require_cool(run)
        begin = self._begin(episode_id, task)
        if not (yield from self._goals.unless_over(begin, run, lambda: self._why_unwanted(task))):
            # Of no motion there is nothing to keep; the recorder may not have answered yet.
            self.episodes.abandon("discard")
            return
        self.phase = f"acting: {task}"
        self._acts.begin_episode()
        sim = self._goals.judge_anew(task)
        run.begin()
        watch = self._waits.watch(run)
        try:
            # While the policy acts, the arm holds without pictures; on its own ways it needs none.
            self._inputs.need_cameras(True)
            self.acting = True
            while run.judge(self._goals.facts(self._why_unwanted(task))) is None:
                self.episodes.check()
                next(watch)
                yield
        finally:
            watch.close()
            self.acting = False
            self._inputs.need_cameras(False)
        yield from self.settle()
        success, reason = run.ending.success(sim.success), run.ending.message
        yield from self.episodes.end(success, reason)
        if run.ending.outcome == Outcome.HELD and not self._serves:
            self._waits.end_held(episode_id, reason)
        else:
            self._note(episode_id, task, sim.partial, success, run.elapsed_s, reason)

    def _begin(self, episode_id: str, task: str) -> Steps:
        yield from self._inputs.until_seen(self.parameters.driver_wait_s)
        yield from self.episodes.begin(episode_id, task)

    def _why_unwanted(self, task: str) -> str:
        return "another task" if self._task.text != task else ""

    def _show(self) -> Steps:
        """Ask the policy at its rate, for as long as the episodes would take, and show its ways."""
        yield from self._inputs.until_seen(self.parameters.driver_wait_s)
        self.phase = "dry run: the arm is not commanded"
        start_ns = asked_ns = self.now_ns
        total_ns = int(self.parameters.episodes * self.parameters.episode_s * 1e9)
        while not total_ns or self.now_ns - start_ns < total_ns:
            now_ns = self.now_ns
            is_due = not 0 <= now_ns - asked_ns < 1e9 / self._contract.rate_hz
            if is_due and self._task.text and self._acts.show(now_ns, self._task.text):
                asked_ns = now_ns
            self._acts.take_answer(now_ns)
            yield

    # --- goals of others ---

    def _steps_to_rest(self, reason: str, then: Callable[[], None]) -> Steps:
        steps = super()._steps_to_rest(reason, lambda: None)
        return self._goals.come_to_rest(steps, reason, then)

    def _why_busy(self) -> str:
        if self.parameters.dry_run:
            return "node policy only shows what it would do: start it without dry_run"
        if self.arm.warm_reason:
            return f"the motors have to rest until they have cooled: {self.arm.warm_reason}"
        if self._serves:
            return ""
        return f"node policy has a task of its own, {self._task.text!r}: start it without one"

    # --- what the policy is told ---

    def _on_task_parameter(self, task: str) -> None:
        if self._inference is not None:  # else it is taken at configure
            self._task.set(task)

    def _on_new_task(self) -> None:
        # What the old task asked for, and what is still being inferred for it, is over.
        self._acts.motion.begin_anew()
        if self.acting:
            self.acting = False
            self.arm.hold()

    def _on_speed_scale(self, scale: float) -> None:
        if self._inference is not None:
            self._acts.motion.queue.speed_scale = scale

    # --- what the policy does ---

    def on_tick(self) -> None:
        """Go one period further, and ask for the next chunk where it is time."""
        if self._waits.pauses:
            self._acts.rest()
        else:
            self._acts.tick(self.now_ns, self._task.text)

    def _on_picture(self) -> None:
        if self.acting:
            self._acts.look(self.now_ns, self._task.text)

    # --- results ---

    def _note(self, episode_id: str, task: str, partial, success, duration_s: float, reason: str):
        outcome = self._acts.outcome
        steps = outcome["steps"]
        self.get_logger().info(f"{episode_id}: success {success}, partial {partial}, {steps} steps")
        facts = {"episode_id": episode_id, "task": task, "reason": reason}
        facts |= {"layout_seed": self.task_state.get("layout_seed")}
        facts |= {"partial": partial, "success": success, "duration_s": round(duration_s, 3)}
        self._results.add(facts | outcome)

    def say_status(self) -> None:
        """Put the policy beside the mission and the arm on /diagnostics."""
        super().say_status()
        self.diagnostics.set("policy", *self._acts.status(self.acting))

    def close(self) -> None:
        """Leave the running inference, after a moment."""
        super().close()
        policy_loading.leave(self._runner)  # first, so that what waits for it ends
        inference, self._inference = self._inference, None
        if inference is not None and not inference.close(_CLOSE_S):
            self.get_logger().warning(f"the network still computes after {_CLOSE_S:g} s: left")


def main() -> int:
    """Run policy_node; the entry of scripts/policy_node."""
    sys.setswitchinterval(_SWITCH_S)
    return run(lambda: PolicyNode(is_alone=True), "policy_node")
