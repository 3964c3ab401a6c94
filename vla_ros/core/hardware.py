"""What the servos' registers say about their health, in words."""

from collections import Counter
from collections.abc import Sequence

from vla_ros.core.monitor import SERVOS

# Bits of Hardware_Error_Status (address 70 of the DYNAMIXEL X series), by their e-manual names.
ERROR_BITS = {
    0x01: "input voltage",
    0x04: "overheating",
    0x08: "motor encoder",
    0x10: "electrical shock",
    0x20: "overload",
}
_REMEDIES = {
    "input voltage": "check the 12 V supply and its plug",
    "overheating": "let the servo cool for 20 minutes",
    "motor encoder": "have the servo serviced if a reboot does not help",
    "electrical shock": "check the supply, or have the servo serviced",
    "overload": "take the load off and clear the arm's way",
}
# At its Temperature_Limit [degrees Celsius] a servo shuts down and drops its joint. As they are
# delivered: 80 of XM430 and XM540, 72 of the XL430 that many of these arms have in their wrist.
MODEL_LIMIT_C = 80
LIMITS_C = dict.fromkeys(SERVOS, MODEL_LIMIT_C) | {"wrist_rotate": 72, "gripper": 72}
# So far below its limit [degrees Celsius] a servo stops the arm, is warm, and has cooled.
HOT_BELOW_C, WARM_BELOW_C, COOL_BELOW_C = 3, 10, 25
# A servo of a low limit need not cool further than to this [degrees Celsius], which a warm room
# allows, or to a little less than warm.
_COOL_ENOUGH_C, _COOL_MARGIN_C = 40, 3
# Registers outside these were not read: a failed read gives 0.
_CREDIBLE_C, _CREDIBLE_LIMIT_C = (1, 120), (40, 120)


def error_names(status: int) -> tuple[str, ...]:
    """Return the names of the errors in a Hardware_Error_Status register; () where there are none.

    A bit that no manual names is given as a number.
    """
    # The driver hands the register's byte on as a signed number.
    status &= 0xFF
    unknown = status & ~sum(ERROR_BITS)
    names = tuple(name for bit, name in ERROR_BITS.items() if status & bit)
    return names + ((f"unknown bits 0x{unknown:02x}",) if unknown else ())


def servo_fault(names: Sequence[str], statuses: Sequence[int]) -> str:
    """Return one sentence about the servos in error, with the remedy; empty where there is none.

    Args:
        names: the servos, in the order of `statuses`.
        statuses: their Hardware_Error_Status registers, as many.
    """
    errors = {
        name: error_names(status)
        for name, status in zip(names, statuses, strict=True)
        if error_names(status)
    }
    if not errors:
        return ""
    said = ", ".join(f"{name}: {' and '.join(kinds)}" for name, kinds in errors.items())
    kinds = dict.fromkeys(kind for found in errors.values() for kind in found)
    remedies = "; ".join(_REMEDIES[kind] for kind in kinds if kind in _REMEDIES)
    return (
        f"servo error ({said}), the servo is without torque: {remedies or 'look it up'}, support "
        "the arm, then call reboot_motors and /vla/reset_stop"
    )


def torque_fault(names: Sequence[str], enabled: Sequence[int]) -> str:
    """Return one sentence about the servos without torque; empty where there is none.

    Args:
        names: the servos, in the order of `enabled`.
        enabled: their Torque_Enable registers, as many.
    """
    limp = [name for name, on in zip(names, enabled, strict=True) if not on]
    if not limp:
        return ""
    return (
        f"{', '.join(limp)} has no torque, and nobody switched it off: check cable and plug of the "
        "servo, support the arm, then call torque_enable and /vla/reset_stop"
    )


class HeatWatch:
    """Tells from the servos' temperatures when the arm has to rest, and until when.

    Attributes:
        hottest: name and temperature [degrees Celsius] of the hottest servo; ("", 0) unknown.
        warm_reason: why the motors have to rest: one sentence from the moment a servo is warm until
            all have cooled; empty else.
        hot_reason: why the arm has to stop at once: a servo is about to drop out; empty else.
    """

    def __init__(self):
        self._limits_c = dict(LIMITS_C)
        self._now_c: dict[str, int] = {}
        self._warm: set[str] = set()
        self._readings: Counter[str] = Counter()
        self.hottest: tuple[str, int] = ("", 0)
        self.warm_reason = self.hot_reason = ""

    @property
    def warm_readings(self) -> int:
        """How often the warm servo that was read the least was read; 0 where none is warm."""
        return min((self._readings[name] for name in self._warm), default=0)

    def learn_limits(self, names: Sequence[str], limits_c: Sequence[int]) -> None:
        """Take the servos' Temperature_Limit registers, none above that of its model."""
        low, high = _CREDIBLE_LIMIT_C
        for name, limit_c in zip(names, limits_c, strict=True):
            if low <= limit_c <= high:
                self._limits_c[name] = min(limit_c, MODEL_LIMIT_C)

    def judge(self, names: Sequence[str], temperatures_c: Sequence[int]) -> None:
        """Take Present_Temperature [degrees Celsius] of some servos; what was not read is left."""
        low, high = _CREDIBLE_C
        for name, celsius in zip(names, temperatures_c, strict=True):
            if not low <= celsius <= high:
                continue
            self._now_c[name] = celsius
            self._readings[name] += 1
            if self._left_c(name) <= WARM_BELOW_C:
                self._warm.add(name)
            elif self._left_c(name) >= self._cool_below_c(name):
                self._warm.discard(name)
        worst = sorted(self._now_c, key=self._left_c)
        self.hottest = max(self._now_c.items(), key=lambda item: item[1], default=("", 0))
        hot = [name for name in worst if self._left_c(name) <= HOT_BELOW_C]
        self.hot_reason = (
            f"{self._said(hot)}: let it cool for 20 minutes in the sleep pose without torque, then "
            "call /vla/reset_stop"
            if hot
            else ""
        )
        self.warm_reason = self._said([name for name in worst if name in self._warm])

    def _limit_c(self, name: str) -> int:
        return self._limits_c.get(name, MODEL_LIMIT_C)

    def _cool_below_c(self, name: str) -> int:
        enough = self._limit_c(name) - _COOL_ENOUGH_C
        return min(COOL_BELOW_C, max(enough, WARM_BELOW_C + _COOL_MARGIN_C))

    def _left_c(self, name: str) -> int:
        return self._limit_c(name) - self._now_c[name]

    def _said(self, names: Sequence[str]) -> str:
        return ", ".join(
            f"{name} is at {self._now_c[name]} degrees Celsius and drops out at "
            f"{self._limit_c(name)}"
            for name in names
        )
