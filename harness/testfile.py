"""The test file: what a person writes to say what is tested, how, and when it counts.

One test is one value; the same file runs in every world. Times are in seconds, rates in
operations a second over all clients. Everything has a default but the workload's name, and
nothing is guessed: unknown keys, wrong types and numbers out of range are refused before a
host is made (yamlfile.py has the form of the complaint). The options of a system and of a
workload belong to them and are validated by their own models (registry.py).
"""
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from seatrial.checker.errors import CheckerError
from seatrial.checker.log_patterns import compiled

from .errors import BadInput
from .hosts.vm.machine import (
    MAX_CPUS,
    MAX_DATA_MB,
    MAX_MEMORY_MB,
    MIN_DATA_MB,
    MIN_MEMORY_MB,
    Machine,
)
from .sim.environment import environment
from .topology.files import must_be_possible, with_file
from .topology.nodes import NODES_MAX
from .topology.section import Domains, DomainSection, TreeParts, made, numbered
from .topology.tree import Tree
from .yamlfile import Document, Section

Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Targets = Literal["one", "minority", "majority", "all", "primaries"]
SEED_MAX = (1 << 63) - 1
Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]
Moment = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]


class Part(Section):
    """A system or a workload: its registered name and its own options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class MachineSize(Section):
    """What each host is in the world ``vm``; sizes in MB. ``disk``: of the one at /data."""

    memory: Annotated[int, Field(ge=MIN_MEMORY_MB, le=MAX_MEMORY_MB)] = Machine().memory_mb
    cpus: Annotated[int, Field(ge=1, le=MAX_CPUS)] = Machine().cpus
    disk: Annotated[int, Field(ge=MIN_DATA_MB, le=MAX_DATA_MB)] = Machine().data_mb

    @property
    def machine(self) -> Machine:
        """As the world takes it."""
        return Machine(self.memory, self.cpus, self.disk)


BARE = TreeParts()


class Topology(TreeParts):
    """The hosts that a world is asked for, and the domains that they are members of.

    ``nodes`` hosts are one domain. ``spares``: how many of them, the last ones, are no members at
    first; on real hosts they have no node either, but all that one needs. Or the ``domains`` say
    both (topology/section.py); their ``file`` was read when this is made (topology/files.py).
    """

    file: Annotated[str, Field(min_length=1)] | None = None
    domains: Domains | None = None
    nodes: Annotated[int, Field(ge=1)] = 5
    spares: Annotated[int, Field(ge=0, le=NODES_MAX - 1)] = 0
    machine: MachineSize = MachineSize()

    @field_validator("nodes")
    @classmethod
    def _no_larger_than_a_domain(cls, given: int, info: ValidationInfo) -> int:
        if info.data.get("domains") is None and given > NODES_MAX:
            raise ValueError(f"expected at most {NODES_MAX}, got {given}")
        return given

    @model_validator(mode="after")
    def _somebody_is_a_member(self) -> Topology:
        if self.domains is not None:
            self._count(self.domains)
            return self
        for name in TreeParts.model_fields:
            if getattr(self, name) != getattr(BARE, name):
                raise ValueError(f"{name}: expected only beside domains")
        if self.spares >= self.nodes:
            raise ValueError(f"spares is {self.spares} of {self.nodes} nodes: expected fewer, "
                             "so that there is a member")
        return self

    def _count(self, domains: dict[str, DomainSection]) -> None:
        """Let ``nodes`` and ``spares`` say what the domains say."""
        hosts = {node.name for nodes in numbered(domains).values() for node in nodes}
        only = next(iter(domains.values())) if len(domains) == 1 else None
        for name, count in (("nodes", len(hosts)), ("spares", only.spares if only else 0)):
            if name in self.model_fields_set and getattr(self, name) != count:
                raise ValueError(f"{name}: expected only where there are no domains, which say "
                                 "it themselves")
            object.__setattr__(self, name, count)

    def tree(self) -> Tree:
        """Return the tree of domains; hosts that are only counted are one, ``A``."""
        domains = self.domains or {"A": DomainSection(nodes=self.nodes, spares=self.spares)}
        return made(domains, self.pools, self.timers)


class Faults(Section):
    """Which faults strike, for how long, and how much peace there is between them.

    Each of the ``lanes`` goes through ``names`` in rounds, so that all of them get their turn;
    lanes overlap in time. ``jitter`` is how far off a single duration or gap may be, as a
    share. ``targets``: how many nodes a kill or pause hits, drawn anew each time. ``settle`` is
    the peace after healing, before final reads. ``parameters``: what is not drawn of how strong a
    fault is, by its name.
    """

    names: list[str] = Field(default_factory=list)
    parameters: dict[str, dict[str, Count]] = Field(default_factory=dict)
    duration: Seconds = 4.0
    gap: Seconds = 2.0
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    lanes: Annotated[int, Field(ge=1, le=4)] = 1
    targets: list[Targets] = Field(default=["one", "minority", "primaries"], min_length=1)
    settle: Annotated[float, Field(ge=0, le=600)] = 1.0

    @property
    def shortest_ns(self) -> int:
        """How long the shortest of these faults holds, but for rounding."""
        return int(self.duration * (1 - self.jitter) * 0.99e9)


class Requirements(Section):
    """What must have happened for a pass to mean something; else the verdict is no-coverage.

    Operations count when they ended ok. ``leader_hit`` asks for a fault whose targets held
    the leader of that moment; ``min_ok_per_window`` for progress in each fault's time in
    force, as long as a majority of the nodes could reach each other.
    """

    min_ok: Count = 0
    min_write_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    min_clients: Count = 0
    max_keys_at_a_time: Count = 0  # 0: any number
    min_faults: Count = 0
    min_faults_by_name: dict[str, Count] = Field(default_factory=dict)
    min_fault_names: Count = 0
    min_partitions: Count = 0
    leader_hit: bool = False
    min_leader_changes: Count = 0
    min_ok_per_window: Count = 0
    final_reads: bool = True


class SimFaults(Section):
    """What is different about the file's own faults in the simulated world; null: nothing."""

    duration: Seconds | None = None
    gap: Seconds | None = None
    settle: Annotated[float, Field(ge=0, le=600)] | None = None


class Sim(Section):
    """What only the simulated world has. ``swarm``: each seed draws an environment and faults of
    its own, beside those of the file; else all seeds have the same. ``op_timeout``: from where to
    where it draws how long a client waits. ``environment``: what is fixed in either case
    (sim/environment.py).

    A campaign of minutes on hosts is one of many short runs here: ``time_limit``, ``faults`` and
    ``coverage`` take the place of the file's.
    """

    swarm: bool = True
    time_limit: Seconds | None = None
    faults: SimFaults = SimFaults()
    coverage: Requirements | None = None
    op_timeout: Annotated[list[Seconds], Field(min_length=2, max_length=2)] | None = None
    environment: dict[str, Any] = Field(default_factory=dict)

    @field_validator("op_timeout")
    @classmethod
    def _is_a_range(cls, given: list[float] | None) -> list[float] | None:
        if given is not None and given[0] > given[1]:
            raise ValueError(f"expected the shortest, then the longest, got {given}")
        return given

    @field_validator("environment")
    @classmethod
    def _environment_exists(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Refuse what no simulated cluster could run on."""
        try:
            environment(given)
        except BadInput as error:
            raise ValueError(str(error)) from None
        return given


class PlannedOperation(Section):
    """One operation: which client does it, and when it is due since clients began.

    A client does its operations one after the other; one that finds it busy is late.
    """

    at: Moment
    client: Count
    f: str
    key: str | None = None
    value: Any = None


class PlannedFault(Section):
    """One fault. ``for``: how long it is in force, from its start; null: until all is healed.

    What is left out (targets, or for a partition the grudge) is chosen when the fault strikes, as
    in any run: the ``seed`` decides whatever has to be drawn.
    """

    at: Moment
    hold: Annotated[float, Field(ge=0, le=7 * 24 * 3600)] | None = Field(default=None, alias="for")
    name: str
    targets: Annotated[list[str], Field(min_length=1)] | None = None
    grudge: Annotated[dict[str, list[str]], Field(min_length=1)] | None = None
    parameters: dict[str, int] = Field(default_factory=dict)
    seed: Seed = 0


class Schedule(Section):
    """All that happens in a run, one by one (schedule.py)."""

    operations: list[PlannedOperation] = Field(default_factory=list)
    faults: list[PlannedFault] = Field(default_factory=list)


class LogSearch(Section):
    """What the nodes' logs are searched for: ``known`` signs of a crash, and expressions of one's
    own. ``ignore``: lines that match it are all right."""

    known: bool = True
    patterns: list[str] = Field(default_factory=list)
    ignore: list[str] = Field(default_factory=list)

    @field_validator("patterns", "ignore")
    @classmethod
    def _are_expressions(cls, given: list[str]) -> list[str]:
        for expression in given:
            try:
                compiled(expression)
            except CheckerError as error:
                raise ValueError(str(error)) from None
        return given


Share = Annotated[float, Field(ge=0, le=1)]


class Availability(Section):
    """What is promised: shares of operations that are answered, and times; null: nothing."""

    min_ok: Share | None = None
    min_ok_in_faults: Share | None = None
    max_gap: Seconds | None = None
    max_gap_in_faults: Seconds | None = None
    max_recovery: Seconds | None = None
    max_steady: Seconds | None = None


class Checks(Section):
    """Which engines judge, and what each may use before its verdict is inconclusive.

    ``auto``: all engines where the run is of moderate size and porcupine was built. ``online``:
    judge while the run goes on, too; ``stop``: do so, and end it at the first violation.
    ``domains``: whether their guarantees are judged; null: where there are several.
    """

    engine: Literal["auto", "monitor", "search", "porcupine", "both"] = "auto"
    time_limit: Seconds = 120.0
    memory_mb: Annotated[int, Field(ge=64, le=1 << 20)] = 2048
    online: bool = False
    stop: bool = False
    domains: bool | None = None
    logs: LogSearch = LogSearch()
    availability: Availability = Availability()


class Spec(Section):
    """A whole test file, validated."""

    name: Name
    system: Part = Part(name="node")
    topology: Topology = Topology()
    workload: Part
    clients: Annotated[int, Field(ge=1, le=1000)] = 10
    rate: Annotated[float, Field(gt=0, le=1e6)] | None = None
    time_limit: Seconds = 60.0
    op_timeout: Seconds = 5.0
    faults: Faults = Faults()
    sim: Sim = Sim()
    coverage: Requirements = Requirements()
    checks: Checks = Checks()
    seed: Seed | None = None
    schedule: Schedule | None = None

    @model_validator(mode="after")
    def _faults_can_be_required(self) -> Spec:
        """Refuse requirements that no run of this file can meet."""
        given = len(set(self.faults.names))
        for key, asked in (("coverage", self.coverage), ("sim.coverage", self.sim.coverage)):
            if asked is not None and asked.min_fault_names > given:
                raise ValueError(f"{key}.min_fault_names is {asked.min_fault_names}, but "
                                 f"faults.names has only {given}")
        return self

    def in_simulation(self) -> Spec:
        """Return the test as the simulated world runs it."""
        faults = {name: given for name, given in self.sim.faults if given is not None}
        plain = {"time_limit": None, "faults": SimFaults(), "coverage": None}
        return self.model_copy(update={
            "time_limit": self.sim.time_limit or self.time_limit,
            "faults": self.faults.model_copy(update=faults),
            "coverage": self.sim.coverage or self.coverage,
            "sim": self.sim.model_copy(update=plain)})


def load(path: Path) -> tuple[Document, Spec]:
    """Read and validate a test file."""
    return validated(Document.load(path))


def validated(document: Document) -> tuple[Document, Spec]:
    """Validate a document after overrides; returns it beside what it says."""
    with_file(document)
    spec = document.validate(Spec, document.data)
    must_be_possible(document, spec.topology, ("topology",))
    return document, spec
