"""The generator of faults: which, when and for how long, all decided by the seed.

A lane does one fault at a time: peace, start, hold, stop, and again. Names come in rounds: a
shuffled list of all of them, then another one, so that n faults contain all n names whatever
the seed. Peace is counted from the proof that the fault before it has healed (or the end of
waiting for that), hold from the proof that the fault works. No fault starts that could not be
held in full before the time is over: one of which clients saw but a moment shows nothing.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..generator import PENDING, Answer, Context, Generator, lift, sleep
from ..rng import Rng

PROOF_S = 1.5                    # what a fault may need to take effect, for planning only
BURST = 8
NOT_STARTED = -1


class Rhythm(msgspec.Struct, frozen=True):
    """Seconds of peace before a fault and of its hold; each drawn up to ``jitter`` off.

    limit_s: how long the lane has, None for ever.
    bursts: share of faults that are over, and follow the one before, ``BURST`` times faster.
    quiet_s: peace before the first one, besides its own.
    """

    duration_s: float
    gap_s: float
    jitter: float
    limit_s: float | None = None
    bursts: float = 0.0
    quiet_s: float = 0.0


class Lane(Generator, frozen=True, gc=False):
    """One lane.

    number: the lane's, part of its faults' ids; parameters: what is fixed of each name's; count:
    faults so far; round: names still to come in this round; plan: operations still to come of
    this fault; state: of its stream; began_ns: when it was first asked.
    """

    number: int
    names: tuple[str, ...]
    rhythm: Rhythm
    parameters: Mapping[str, Mapping[str, int]] = {}
    state: int = 0
    count: int = 0
    round: tuple[str, ...] = ()
    plan: tuple[Generator, ...] = ()
    began_ns: int = NOT_STARTED

    def op(self, test: Any, ctx: Context) -> Answer:
        if not ctx.free:
            return PENDING               # asked for every operation of every client: say so soon
        lane = self if self.plan else self._with_next_fault(ctx.time_ns)
        if lane is None:
            return None
        answer = lane.plan[0].op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        return answer[0], msgspec.structs.replace(lane, plan=lane.plan[1:])

    def seeded(self, seed: int) -> Generator:
        return msgspec.structs.replace(self, state=seed)

    def _with_next_fault(self, now_ns: int) -> Lane | None:
        """Return the lane with the operations of one more fault ahead; None if time is short."""
        rng = Rng(self.state)
        name, *round = self.round or rng.shuffled(self.names)
        gap_s = self._draw(rng, self.rhythm.gap_s)
        hold_s = self._draw(rng, self.rhythm.duration_s)
        if self.rhythm.bursts and rng.uniform(0, 1) < self.rhythm.bursts:
            gap_s, hold_s = gap_s / BURST, hold_s / BURST
        if self.count == 0:
            gap_s += self.rhythm.quiet_s
        began_ns = now_ns if self.began_ns == NOT_STARTED else self.began_ns
        passed_s = (now_ns - began_ns) / 1e9
        limit_s = self.rhythm.limit_s
        if limit_s is not None and passed_s + gap_s + PROOF_S + hold_s > limit_s:
            return None
        id = f"{self.number}-{self.count}"
        start = {"action": "start", "id": id, "seed": rng.next64() >> 1}
        if fixed := self.parameters.get(name):
            start["parameters"] = dict(fixed)
        plan = (sleep(gap_s), lift({"f": name, "value": start}),
                sleep(hold_s), lift({"f": name, "value": {"action": "stop", "id": id}}))
        return msgspec.structs.replace(self, state=rng.state, count=self.count + 1,
                                       round=tuple(round), plan=plan, began_ns=began_ns)

    def _draw(self, rng: Rng, mean_s: float) -> float:
        return rng.uniform(mean_s * (1 - self.rhythm.jitter), mean_s * (1 + self.rhythm.jitter))
