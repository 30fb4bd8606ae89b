"""Random schedules for both sides, and making a failing one small."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from seatrial.harness.rng import Rng


@dataclass
class Schedule:
    """Commands for a cluster of ``nodes``, of which the first ``voters`` vote at first."""

    nodes: int
    voters: int
    steps: list[str] = field(default_factory=list)


class Writer:
    """Draws steps; knows which links and nodes it left broken, and nothing of what follows."""

    def __init__(self, seed: int, length: int, features: frozenset[str]) -> None:
        self.rng = Rng(seed)
        voters = self.rng.choice([1, 2, 3, 3, 3, 4, 5, 5])
        spare = 4 if features & {"conf"} else 0
        self.schedule = Schedule(voters + spare, voters)
        self.ids = list(range(1, voters + 1))
        self.fresh = list(range(voters + 1, voters + spare + 1))    # never were members
        self.length = length
        self.features = features
        self.cut: set[tuple[int, int]] = set()
        self.down: set[int] = set()

    def add(self, *words: object) -> None:
        self.schedule.steps.append(" ".join(map(str, words)))

    def node(self) -> int:
        return self.rng.choice(self.ids)

    def pair(self) -> tuple[int, int]:
        a, b = self.rng.shuffled(self.ids)[:2]
        return a, b

    # ---- moves -------------------------------------------------------------------------

    def settle(self) -> None:
        self.add("settle")

    def propose(self) -> None:
        for _ in range(1 + self.rng.below(3)):
            self.add("propose")

    def campaign(self) -> None:
        """One that may or may not be heard."""
        self.add("campaign", self.node())

    def election(self) -> None:
        """One that most will vote in, if their logs let them."""
        for node in self.rng.shuffled(self.ids):
            if self.rng.below(8):
                self.add("lapse", node)
        self.add("campaign", self.node())
        if self.rng.below(3) == 0:
            self.add("campaign", self.node())
        self.exchange()

    def exchange(self) -> None:
        """Some messages, in some order; or all."""
        if len(self.ids) < 2 or self.rng.below(3) == 0:
            return self.settle()
        for _ in range(self.rng.below(12)):
            self.add("deliver", *self.pair())

    def drop(self) -> None:
        if len(self.ids) > 1:
            self.add("drop", *self.pair())

    def cut_one(self) -> None:
        if len(self.ids) > 1:
            a, b = sorted(self.pair())
            self.cut.add((a, b))
            self.add("cut", a, b)

    def isolate(self) -> None:
        """One node alone, or two."""
        side = set(self.rng.shuffled(self.ids)[:1 + self.rng.below(2)])
        for a in self.ids:
            for b in self.ids:
                if a < b and (a in side) != (b in side):
                    self.cut.add((a, b))
                    self.add("cut", a, b)

    def diverge(self) -> None:
        """A leader is cut off and goes on appending what another leader will overwrite."""
        leader, other = (self.rng.shuffled(self.ids) + self.ids)[:2]
        for node in self.ids:
            self.add("lapse", node)
        self.add("campaign", leader)
        self.settle()
        for node in self.ids:
            if node != leader and self.rng.below(12):
                self.cut.add((min(leader, node), max(leader, node)))
                self.add("cut", leader, node)
        self.propose()
        for node in self.ids:
            if node != leader:
                self.add("lapse", node)
        self.add("campaign", other)
        self.exchange()
        self.propose()
        if self.rng.below(2):
            self.heal_all()
            self.exchange()

    def heal_one(self) -> None:
        if self.cut:
            pair = self.rng.choice(sorted(self.cut))
            self.cut.remove(pair)
            self.add("heal", *pair)

    def heal_all(self) -> None:
        for pair in self.rng.shuffled(sorted(self.cut)):
            self.add("heal", *pair)
        self.cut.clear()

    def crash(self) -> None:
        node = self.node()
        self.down.add(node)
        self.add("crash", node)

    def restart(self) -> None:
        if self.down:
            node = self.rng.choice(sorted(self.down))
            self.down.remove(node)
            self.add("restart", node)

    def check(self) -> None:
        self.add("check", self.node())

    def transfer(self) -> None:
        self.add("transfer", self.node())

    def compact(self) -> None:
        self.add("compact", self.node(), self.rng.choice([0, 0, 1, 3]))

    def compact_all(self) -> None:
        for node in self.rng.shuffled(self.ids):
            if self.rng.below(4):
                self.add("compact", node, self.rng.choice([0, 0, 0, 2]))

    def tear(self) -> None:
        node = self.node()
        self.down.add(node)
        self.add("tear", node)

    def part(self) -> None:
        """A snapshot may be on its way, from a leader that is not known here."""
        to = self.node()
        for node in self.rng.shuffled(self.ids):
            if node != to:
                self.add("part", node, to)

    def leave_behind(self) -> None:
        """One lacks what the others no longer hold."""
        behind = self.node()
        others = [node for node in self.rng.shuffled(self.ids) if node != behind]
        crashes = self.rng.below(3) == 0
        if crashes:
            self.add("crash", behind)
        for node in [] if crashes else others:
            self.cut.add((min(behind, node), max(behind, node)))
            self.add("cut", *sorted((behind, node)))
        self.propose()
        if self.rng.below(4) == 0:
            for node in others:
                self.add("lapse", node)
            self.add("campaign", self.node())
        self.settle()
        self.propose()
        self.settle()
        self.compact_all()
        if crashes:
            self.add("restart", behind)
        else:
            self.heal_all()
        for _ in range(self.rng.below(3)):
            if self.rng.below(2):
                self.exchange()
            for node in others:
                self.add("part", node, behind)
                if self.rng.below(4) == 0:
                    self.add("compact", node, 0)
        if self.rng.below(2):
            self.settle()

    def change(self) -> None:
        """Members come, go, vote or stop voting; some changes will be refused."""
        words = []
        for _ in range(self.rng.choice([1, 1, 1, 2, 3])):
            if self.fresh and self.rng.below(2):
                node = self.fresh.pop(0)
                self.ids.append(node)
                words.append(f"{self.rng.choice('vvl')}{node}")
            else:
                words.append(f"{self.rng.choice('vvlr' if len(self.ids) > 2 else 'vl')}"
                             f"{self.node()}")
        if self.rng.below(3):           # all within reach, so that it can be made
            for node in sorted(self.down):
                self.add("restart", node)
            self.down.clear()
            self.heal_all()
        self.settle()
        self.add("conf", *words)

    def write(self) -> Schedule:
        moves: list[tuple[int, Callable[[], None]]] = [
            (10, self.settle), (12, self.propose), (4, self.campaign), (10, self.election),
            (12, self.exchange), (5, self.drop), (4, self.cut_one), (3, self.isolate),
            (6, self.heal_one), (3, self.heal_all), (4, self.crash), (7, self.restart),
            (2, self.check), (2, self.diverge),
        ]
        if "transfer" in self.features:
            moves.append((4, self.transfer))
        if "conf" in self.features:
            moves.append((5, self.change))
        if "snapshot" in self.features:
            moves += [(4, self.compact), (2, self.compact_all), (2, self.tear), (2, self.part),
                      (4, self.leave_behind)]
        total = sum(weight for weight, _ in moves)
        while len(self.schedule.steps) < self.length:
            draw = self.rng.below(total)
            for weight, move in moves:
                if draw < weight:
                    move()
                    break
                draw -= weight
        for node in sorted(self.down):
            self.add("restart", node)
        self.heal_all()
        self.settle()
        for node in self.ids:
            self.add("lapse", node)
        self.add("campaign", self.node())
        self.settle()
        return self.schedule


def draw(seed: int, *, length: int = 200, features: frozenset[str] = frozenset()) -> Schedule:
    """Return the schedule of a seed: at least ``length`` steps, healed and settled at the end."""
    return Writer(seed, length, features).write()


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Remove steps, ever fewer at a time, as long as it still fails."""
    steps = schedule.steps
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size:]
            if fails(Schedule(schedule.nodes, schedule.voters, fewer)):
                steps = fewer
            else:
                at += size
        size = size // 2 if size > 1 or len(steps) == len(schedule.steps) else 0
    return Schedule(schedule.nodes, schedule.voters, steps)
