"""Which clock a node goes by."""
from seatrial.core.mutant cimport LEASE_ON_WALL_CLOCK, MUTANT, seatrial_arm

import time


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


def boottime_ns() -> int:
    """Return the machine's clock: it goes on while the computer sleeps, and never jumps."""
    if MUTANT(LEASE_ON_WALL_CLOCK):
        return time.clock_gettime_ns(time.CLOCK_REALTIME)
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
