"""The generator of faults: which, when and for how long, all decided by the seed.

A lane does one fault at a time: peace, start, hold, stop, and again. Names come in rounds: a
shuffled list of all of them, then another one, so that n faults contain all n names whatever
the seed. Peace is counted from the proof that the fault before it has healed (or the end of
waiting for that), hold from the proof that the fault works.
"""
from __future__ import annotations

from typing import Any

import msgspec

from ..generator import PENDING, Answer, Context, Generator, lift, sleep
from ..rng import Rng


class Rhythm(msgspec.Struct, frozen=True):
    """Seconds of peace before a fault and of its hold; each drawn up to ``jitter`` off."""

    duration_s: float
    gap_s: float
    jitter: float


class Lane(Generator, frozen=True, gc=False):
    """One lane.

    number: the lane's, part of its faults' ids; count: faults so far; round: names still to
    come in this round; plan: operations still to come of this fault; state: of its stream.
    """

    number: int
    names: tuple[str, ...]
    rhythm: Rhythm
    state: int = 0
    count: int = 0
    round: tuple[str, ...] = ()
    plan: tuple[Generator, ...] = ()

    def op(self, test: Any, ctx: Context) -> Answer:
        lane = self if self.plan else self._with_next_fault()
        answer = lane.plan[0].op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        return answer[0], msgspec.structs.replace(lane, plan=lane.plan[1:])

    def seeded(self, seed: int) -> Generator:
        return msgspec.structs.replace(self, state=seed)

    def _with_next_fault(self) -> Lane:
        """Return the lane with the operations of one more fault ahead."""
        rng = Rng(self.state)
        name, *round = self.round or rng.shuffled(self.names)
        id = f"{self.number}-{self.count}"
        start = {"action": "start", "id": id, "seed": rng.next64() >> 1}
        plan = (sleep(self._draw(rng, self.rhythm.gap_s)), lift({"f": name, "value": start}),
                sleep(self._draw(rng, self.rhythm.duration_s)),
                lift({"f": name, "value": {"action": "stop", "id": id}}))
        return msgspec.structs.replace(self, state=rng.state, count=self.count + 1,
                                       round=tuple(round), plan=plan)

    def _draw(self, rng: Rng, mean_s: float) -> float:
        return rng.uniform(mean_s * (1 - self.rhythm.jitter), mean_s * (1 + self.rhythm.jitter))
