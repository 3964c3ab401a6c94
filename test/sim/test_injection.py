"""What each fault does to the arm, to what is read of it and to what it is told."""

import numpy as np
import pytest

from vla_ros.core import arm
from vla_ros.sim.faults import FaultSchedule, parse_faults
from vla_ros.sim.injection import Injector
from vla_ros.sim.world import SimWorld

MS = 1_000_000


@pytest.fixture(scope="module")
def world():
    """One arm for all tests here; each puts it back."""
    return SimWorld(seed=0, objects=("carrot",))


@pytest.fixture
def inject(world):
    """Return a function that gives an arm at its ready pose faults that start from now."""
    made = []

    def make(*texts):
        world.driver.reboot("group", "all", True, False)
        for _ in range(40):
            world.step()
        world.reset(0)
        injector = Injector(world, FaultSchedule(), seed=1)
        faults = [fault for text in texts for fault in parse_faults(text)]
        injector.schedule.add(faults, world.time_ns * 1e-9)
        made.append(injector)
        return injector

    yield make
    for injector in made:
        injector.schedule = FaultSchedule()
        injector.step()


def run(injector, seconds, waist_rad=None):
    """Return every joint state of so many seconds, stamped with the world's time."""
    samples = []
    for _ in range(round(seconds * 100)):
        if waist_rad is not None:
            injector.world.driver.command_single("waist", waist_rad)
        injector.step()
        samples += injector.joint_states(injector.world.time_ns)
    return samples


def stamps_ms(samples, injector):
    """Return the samples' stamps counted back from now [ms]."""
    return [(sample.stamp_ns - injector.world.time_ns) // MS for sample in samples]


def test_a_failed_read_is_minus_pi_at_every_joint_and_then_over(inject):
    samples = run(inject("read_minus_pi@0:0.02"), 0.03)
    for sample in samples[:2]:
        assert sample.position[:7] == pytest.approx([-np.pi] * 7)
        # sqrt(0.024^2 - 0.014^2), as the driver's crank formula gives it.
        assert sample.position[7:] == pytest.approx([0.019494, -0.019494], abs=1e-6)
        assert not sample.effort.any()
    assert samples[2].position[:6] == pytest.approx(arm.READY_RAD, abs=0.02)


def test_a_failed_read_can_be_nan(inject):
    sample, after = run(inject("read_nan@0:0.01"), 0.02)
    assert np.isnan([sample.position, sample.velocity, sample.effort]).all()
    assert np.isfinite(after.position).all()


def test_frozen_joints_repeat_their_numbers_with_fresh_stamps(inject):
    injector = inject("frozen_joints@0.1:0.2")
    samples = run(injector, 0.4, waist_rad=0.5)
    waist = np.array([sample.position[0] for sample in samples])
    assert len(samples) == 40
    assert np.diff([sample.stamp_ns for sample in samples]).tolist() == [10 * MS] * 39
    assert np.unique(waist[9:30]).size == 1
    assert np.unique(waist[:10]).size == 10
    assert np.unique(waist[30:]).size == 10


def test_silent_joints_are_not_published_at_all(inject):
    injector = inject("frozen_joints@0:0.1:silent")
    assert run(injector, 0.1) == []
    assert len(run(injector, 0.1)) == 10


def test_late_joint_states_keep_their_stamps_and_come_all_at_once_in_the_end(inject):
    injector = inject("delay@0:0.1:0.05")
    assert run(injector, 0.05) == []
    assert stamps_ms(run(injector, 0.01), injector) == [-50]
    assert len(run(injector, 0.04)) == 4
    assert stamps_ms(run(injector, 0.01), injector) == [-50, -40, -30, -20, -10, 0]


def test_stamps_jump_and_jump_back(inject):
    injector = inject("clock_jump@0.01:0.02:-3")
    samples = run(injector, 0.04)
    assert stamps_ms(samples, injector) == [-30, -3020, -3010, 0]


@pytest.mark.parametrize(("share", "taken"), [("0", 200), ("0.25", 150), ("1", 0)])
def test_commands_are_dropped_by_share(inject, share, taken):
    injector = inject(f"drop_commands@0:1:{share}")
    run(injector, 0.01)
    # Seeded; 4 times the spread of 200 draws is 25.
    assert sum(injector.takes_command() for _ in range(200)) == pytest.approx(taken, abs=25)
    run(injector, 1.0)
    assert all(injector.takes_command() for _ in range(20))


def test_a_stalled_joint_stays_draws_its_stall_current_and_drops_out_of_overload(inject):
    injector = inject("stall@0:3:waist")
    samples = run(injector, 1.5, waist_rad=0.5)
    assert abs(samples[-1].position[0]) < 0.01
    assert samples[-1].effort[0] == pytest.approx(2300.0)
    run(injector, 1.5, waist_rad=0.5)
    driver = injector.world.driver
    assert driver.get_register("single", "waist", "Hardware_Error_Status") == [32]
    assert driver.get_register("single", "waist", "Torque_Enable") == [0]
    assert driver.get_register("single", "waist", "Present_Temperature")[0] > 30
    driver.reboot("group", "arm", True, True)
    run(injector, 0.4)
    assert run(injector, 1.0, waist_rad=0.5)[-1].position[0] == pytest.approx(0.5, abs=0.02)


def test_a_servo_error_outlives_a_reboot_for_as_long_as_its_cause(inject):
    injector = inject("servo_error@0:0.5:elbow,encoder")
    driver = injector.world.driver
    run(injector, 0.1)
    driver.reboot("group", "arm", True, True)
    run(injector, 0.1)
    assert driver.get_register("single", "elbow", "Hardware_Error_Status") == [8]
    run(injector, 0.5)
    assert driver.get_register("single", "elbow", "Torque_Enable") == [0]
    driver.reboot("group", "arm", True, True)
    run(injector, 0.5)
    assert driver.get_register("single", "elbow", "Hardware_Error_Status") == [0]
    assert driver.get_register("single", "elbow", "Torque_Enable") == [1]


@pytest.mark.parametrize(
    ("fault", "celsius"),
    # 9 and 2 below 80; 9 below the 72 of the gripper.
    [("warm@0:1:shoulder", 71), ("warm@0:1:shoulder,hot", 78), ("warm@0:1:gripper", 63)],
)
def test_a_servo_is_warmed_until_the_fault_is_over(inject, fault, celsius):
    injector = inject(fault)
    joint = fault.split(":")[2].partition(",")[0]
    run(injector, 0.5)
    read = injector.world.driver.get_register
    assert read("single", joint, "Present_Temperature") == [celsius]
    assert read("single", joint, "Hardware_Error_Status") == [0]
    run(injector, 0.6)
    assert read("single", joint, "Present_Temperature") == [30]


def test_a_joint_without_torque_sinks_and_says_nothing(inject):
    injector = inject("torque_lost@0:0.3:shoulder")
    run(injector, 0.5)
    position = injector.joint_states(0)[0].position
    assert position[1] > arm.READY_RAD[1] + 0.02
    driver = injector.world.driver
    assert driver.get_register("single", "shoulder", "Hardware_Error_Status") == [0]
    driver.torque_enable("group", "arm", True)
    # Back to the goal that it kept.
    assert run(injector, 1.0)[-1].position[1] == pytest.approx(arm.READY_RAD[1], abs=0.02)


def test_pictures_freeze_or_stop(inject):
    injector = inject("frozen_camera@0.1:0.1", "no_camera@0.3:0.1")
    pictures, plugged = [], []
    for _ in range(5):
        run(injector, 0.1, waist_rad=0.5)
        pictures.append(injector.picture())
        plugged.append(injector.gives_pictures)
    assert plugged == [True, True, True, False, True]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])
    assert pictures[3] is None
    assert not np.array_equal(pictures[2], pictures[4])


def test_a_fault_is_told_when_it_begins_and_when_it_ends(inject):
    injector = inject("read_nan@0.02:0.02")
    assert [injector.step() for _ in range(6)] == [False, False, True, False, True, False]
