"""What the servos' registers say about their health, in words."""

from collections.abc import Sequence

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
# The servos shut themselves down, and drop the arm, at 80 degrees Celsius (Temperature_Limit).
WARM_C, HOT_C = 70, 75


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


def hottest(names: Sequence[str], temperatures_c: Sequence[int]) -> tuple[str, int]:
    """Return the hottest servo and its Present_Temperature [degrees Celsius], or ("", 0)."""
    found = max(zip(temperatures_c, names, strict=True), default=(0, ""))
    return found[1], found[0]
