"""explorer_node: undirected play, recorded in segments, for as long as nobody looks.

Every segment is one bag. Between two the arm rests: its servos are asked for errors and heat, and
every `rest_every_min` it lies down in its sleep pose without torque. What goes wrong meanwhile -
a silent camera, a blocked arm, an emergency stop - is waited for or gone around; what stays wrong
parks the arm and ends the node with one sentence.
"""

import time

from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

from vla_ros.core import arm
from vla_ros.core.duty import Backoff, Reminder, Row
from vla_ros.core.errors import EpisodeError, VlaError
from vla_ros.nodes.commander import CommanderNode
from vla_ros.nodes.diagnostics import OK, WARN
from vla_ros.nodes.episodes import RecorderGoneError, Steps
from vla_ros.nodes.explorer_motion import make_motion
from vla_ros.nodes.explorer_parameters import ExplorerParameters
from vla_ros.nodes.lifetime import run
from vla_ros.nodes.mission import why_cut
from vla_ros.nodes.play_log import PlayLog
from vla_ros.nodes.player import Player
from vla_ros.nodes.rest_camera import RestCamera
from vla_ros.nodes.seeds import given_or_drawn

_LINE_PERIOD_S = 60.0
# In a long segment the servos are asked in a rest of the motion after so long [s].
_ASK_AFTER_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0


class BlockedError(EpisodeError):
    """The arm does not get on."""


class ExplorerNode(CommanderNode):
    """Plays segment after segment until its time is over."""

    def __init__(self):
        super().__init__("explorer", "play", ExplorerParameters)
        self.log: PlayLog | None = None

    def configure(self) -> None:
        """Make the motion ready: the library of poses takes a second or two.

        Raises:
            ParameterError: the file of poses cannot be used, or play cannot keep to the limits.
        """
        super().configure()
        p = self.parameters
        seed = given_or_drawn(self, p.seed)
        self.episodes.settings |= {"seed": seed}
        motion = make_motion(p.exploration, self.limits, p.poses, seed)
        self._table = None
        if p.camera and p.exploration.interest_weight > 0:
            self._table = RestCamera(self, p.camera, motion.interest.moved)
        self._player = Player(self, motion, self.arm, p.blocked_limit, self._table)
        self._shuffle = Reminder(p.shuffle_every_min)
        self.create_service(Trigger, "~/shuffled", self._on_shuffled)
        self.create_timer(
            _LINE_PERIOD_S, self._say_line, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self.episodes.say_task("")

    # --- the night ---

    def mission(self) -> Steps:
        """Play until `hours` or `segments` are reached, then park.

        Raises:
            VlaError: recording or the arm failed for too long; the arm is parked then, too, if it
                can be.
        """
        yield from self.until_active()
        self.log = PlayLog(self.now_ns, time.monotonic(), self.parameters.hours)
        yield from self.parked_after(self._night())

    def _night(self) -> Steps:
        try:
            yield from self.go_to(arm.READY_RAD, 1.0)
            self._begin_count()
            yield from self._play()
        except VlaError as error:
            self._summarise(str(error))
            raise
        self._summarise("")

    def _begin_count(self) -> None:
        self._started_ns = self.now_ns
        self._played = 0
        self._has_recorded = False
        self._blocked = Row(self.parameters.blocked_limit)
        self._motor_rest = Reminder(self.parameters.rest_every_min)
        self._motor_rest.attended(self.now_ns)
        self._shuffle.attended(self.now_ns)
        self._backoff = Backoff(
            _FIRST_PAUSE_S, _LONGEST_PAUSE_S, 60.0 * self.parameters.give_up_after_min
        )

    def _play(self) -> Steps:
        while not self._is_over():
            yield from self.until_free()
            yield from self._shuffle_objects()
            if self._motor_rest.due(self.now_ns) or self.arm.warm_reason:
                yield from self._rest_motors()
                if self._is_over():
                    break
            yield from self._segment_or_wait()
            self.phase = "between two segments"
            yield from self.ask_servos()
            yield from self.wait(self.parameters.pause_s)

    def _is_over(self) -> bool:
        hours, segments = self.parameters.hours, self.parameters.segments
        if hours and self.now_ns - self._started_ns >= hours * 3600e9:
            return True
        return bool(segments) and self.log.segments >= segments

    def _segment_or_wait(self) -> Steps:
        """Record a segment; where recording fails, wait before the next try, or give up."""
        try:
            outcome = yield from self._segment(f"play-{self._played:05d}")
        except (RecorderGoneError, BlockedError):
            raise
        except EpisodeError as error:
            yield from self.settle()
            self.episodes.abandon(str(error))
            pause_s = self._backoff.failed(time.monotonic())
            # Where recording never worked somebody still looks, and wants to know.
            if pause_s is None or not self._has_recorded:
                raise
            self.log.cuts += 1
            self.phase = f"waiting {pause_s:g} s: {error}"
            self.get_logger().warning(f"{error}; the next try is in {pause_s:g} s")
            yield from self.wait_steady(pause_s)
        else:
            self._backoff.succeeded()
            self._count(outcome)
        finally:
            # A name is used once, whatever came of it.
            self._played += 1

    def _count(self, outcome: str) -> None:
        """Count a segment; BlockedError where too many in a row ended because the arm was."""
        self.log.count(outcome)
        if outcome != "blocked":
            self._blocked.succeeded()
        elif self._blocked.failed():
            last = f", last: {self._player.given_up}" if self._player.given_up else ""
            raise BlockedError(
                f"{self.parameters.blocked_limit} segments in a row ended because the arm was "
                f"blocked{last}; clear its way, then start again"
            )

    def _segment(self, episode_id: str) -> Steps:
        """Record a segment; return "whole", or "stopped" or "blocked" where that cut it.

        Warm servos stop it too.
        """
        yield from self.episodes.begin(episode_id)
        self._has_recorded = True
        self.phase = f"playing {episode_id}"
        end_ns = self.now_ns + int(self.parameters.segment_s * 1e9)
        ask_ns = self.now_ns + int(_ASK_AFTER_S * 1e9)
        outcome, reason = "whole", "segment over"
        goes_on = self._player.start()
        self.acting = True
        while goes_on and self.now_ns < end_ns:
            self.episodes.check()
            if cut := why_cut(self.arm):
                outcome, reason = "stopped", cut
                break
            if self.arm.warm_reason:
                outcome, reason = "stopped", f"the motors have to rest: {self.arm.warm_reason}"
                break
            if self.now_ns > ask_ns and self._player.rests and self.arm.at_rest:
                yield from self._ask_in_rest()
                ask_ns = self.now_ns + int(_ASK_AFTER_S * 1e9)
            goes_on = self._player.go_on()
            yield
        if not goes_on:
            outcome, reason = "blocked", self._player.given_up or "the arm was blocked"
        yield from self.settle()
        yield from self.episodes.end(None, reason)
        if not goes_on:
            yield from self.go_to(arm.READY_RAD, 1.0)
        return outcome

    def _ask_in_rest(self) -> Steps:
        """Ask the servos where the motion rests; it goes on when they have answered."""
        self.acting = False
        self.arm.hold()
        yield from self.ask_servos()
        self.acting = True

    def on_tick(self) -> None:
        """One command period further in the play motion."""
        self._player.tick()

    # --- between segments ---

    def _rest_motors(self) -> Steps:
        """Lie down and let the torque go, for a while and until every servo has cooled.

        Play goes on from wherever the arm is then.
        """
        warm = self.arm.warm_reason
        if warm:
            self.get_logger().warning(f"the motors rest until they have cooled: {warm}")
        self.phase = "lying down to rest the motors"
        yield from self.go_to(arm.READY_RAD, self.arm.commanded[1])
        yield from self.go_to(arm.SLEEP_RAD, self.arm.commanded[1])
        # Refused, it rests all the same, only warmer.
        released = yield from self.release_arm()
        self.phase = f"resting the motors for {self.parameters.rest_min:g} min"
        yield from self.wait(60.0 * self.parameters.rest_min)
        yield from self.cool_down(self._is_over)
        if released:
            self.log.rests += 1
            if self._is_over():
                return  # it lies as it shall
            # A stopped arm stays limp: a hand may be under it.
            yield from self.until_free()
            yield from self.make_stiff()
        yield from self.go_to(arm.READY_RAD, 1.0)
        self._motor_rest.attended(self.now_ns)

    def _shuffle_objects(self) -> Steps:
        """Shuffle in the sim; with a real arm remind a person of it."""
        every = self.parameters.shuffle_every
        if self.scene_can_reset:
            if every and self._played % every == 0:
                yield from self.reset_scene()
            return
        if not self._shuffle.due(self.now_ns):
            return
        minutes = self._shuffle.minutes(self.now_ns)
        self.get_logger().warning(
            f"the objects lie as they fell for {minutes:.0f} min: shuffle them, then call "
            "/explorer/shuffled",
            throttle_duration_sec=600.0,
        )
        if self.parameters.shuffle_pause:
            self.phase = "waiting for somebody to shuffle the objects"
            while self._shuffle.due(self.now_ns):
                yield

    def _on_shuffled(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._shuffle.attended(self.now_ns)
        response.success, response.message = True, "thank you: play goes on"
        return response

    # --- what it says ---

    def say_status(self) -> None:
        """Put the reminder beside the mission and the arm on /diagnostics."""
        super().say_status()
        if self.log is None or self.scene_can_reset:
            return
        due = self._shuffle.due(self.now_ns)
        values = {"since_shuffle_min": round(self._shuffle.minutes(self.now_ns), 1)}
        message = "shuffle the objects, then call ~/shuffled" if due else "objects are fresh"
        self.diagnostics.set("objects", WARN if due else OK, message, values)

    def _say_line(self) -> None:
        if self.log is not None:
            self._update_log()
            self.get_logger().info(self.log.line(self.now_ns))

    def _update_log(self) -> None:
        self.log.bags = tuple(self.episodes.paths)
        self.log.refused, self.log.unreachable = self.arm.refusals, self._player.unreachable
        self.log.blocks = self._player.blocks

    def _summarise(self, failure: str) -> None:
        self._update_log()
        print(f"explorer: {self.log.summary(self.now_ns, time.monotonic())}", flush=True)
        try:
            self.log.write(self.now_ns, time.monotonic(), failure)
        except EpisodeError as error:
            self.get_logger().warning(str(error))


def main() -> int:
    """Run explorer_node; the entry of scripts/explorer_node."""
    return run(ExplorerNode, "explorer_node")
