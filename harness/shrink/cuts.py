"""Smaller tests made of a test with a schedule: pure functions, each from a Spec to Specs.

What they return is worth a try and nothing more: whether it still fails is for search.py to find
out. Times are handled in whole ns, so that a cut changes none of those that it keeps.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

from ..schedule import SECOND_NS, ns, planned
from ..testfile import Part, PlannedFault, PlannedOperation, Spec, Topology

MARGIN_NS = SECOND_NS // 1000           # what is left after the last thing that happens
LEAD_NS = SECOND_NS // 10               # and before the first
NICE = (0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)   # seconds between two things
Options = dict[str, Any]


def replaced(
    spec: Spec, *, operations: Iterable[PlannedOperation] | None = None,
    faults: Iterable[PlannedFault] | None = None, **fields: Any,
) -> Spec:
    """Return a test with another schedule and other fields."""
    plan = planned(spec)
    return spec.model_copy(update=fields | {"schedule": plan.model_copy(update={
        "operations": plan.operations if operations is None else list(operations),
        "faults": plan.faults if faults is None else list(faults)})})


def end_ns(fault: PlannedFault, spec: Spec) -> int:
    """Return when a fault ends."""
    return ns(spec.time_limit) if fault.hold is None else ns(fault.at + fault.hold)


# ---- when


def ended(spec: Spec, at_ns: int) -> Spec:
    """Return a test that ends right after a moment."""
    end = at_ns + MARGIN_NS
    if end >= ns(spec.time_limit):
        return spec
    plan = planned(spec)
    faults = [fault if end_ns(fault, spec) < end else fault.model_copy(update={"hold": None})
              for fault in plan.faults if ns(fault.at) < end]
    return replaced(spec, time_limit=end / SECOND_NS, faults=faults,
                    operations=[op for op in plan.operations if ns(op.at) < end])


def begun_later(spec: Spec) -> Spec:
    """Return a test that begins shortly before the first thing that happens in it."""
    plan = planned(spec)
    begins = [op.at for op in plan.operations] + [fault.at for fault in plan.faults]
    first = min(map(ns, begins), default=ns(spec.time_limit))
    shift = max(min(first, ns(spec.time_limit) - 2 * MARGIN_NS) - LEAD_NS, 0)
    return retimed(spec, lambda moment: moment - shift) if shift else spec


def retimed(spec: Spec, new: Callable[[int], int]) -> Spec:
    """Return a test in which each moment (ns) is another one, as the function ``new`` says."""
    plan = planned(spec)

    def at(moment_ns: int) -> float:
        return max(new(moment_ns), 0) / SECOND_NS

    def fault(old: PlannedFault) -> PlannedFault:
        begin, end = new(ns(old.at)), new(end_ns(old, spec))
        return old.model_copy(update={
            "at": at(ns(old.at)),
            "hold": None if old.hold is None else max(end - begin, 0) / SECOND_NS})

    return replaced(
        spec, time_limit=max(at(ns(spec.time_limit)), MARGIN_NS / SECOND_NS),
        operations=[op.model_copy(update={"at": at(ns(op.at))}) for op in plan.operations],
        faults=map(fault, plan.faults))


def moments(spec: Spec) -> list[int]:
    """Return when something happens, from 0 to the end, in ns."""
    plan = planned(spec)
    found = {0, ns(spec.time_limit)} | {ns(op.at) for op in plan.operations}
    for fault in plan.faults:
        found |= {ns(fault.at), min(end_ns(fault, spec), ns(spec.time_limit))}
    return sorted(found)


def shorter_gap(spec: Spec, number: int) -> Iterator[Spec]:
    """Yield tests in which less time passes before the moment with this number."""
    times = moments(spec)
    begin, end = times[number - 1], times[number]
    for seconds in NICE:
        saved = end - begin - ns(seconds)
        if saved <= 0:
            return
        last = number == len(times) - 1
        if last and ns(seconds) == 0:
            continue                        # nothing is due at the very end
        yield retimed(spec, partial(_earlier, saved, end))


def _earlier(saved_ns: int, from_ns: int, moment: int) -> int:
    return moment - saved_ns if moment >= from_ns else moment


def rounded(spec: Spec, to_ns: int) -> Spec:
    """Return a test in which all times are multiples of something."""
    return retimed(spec, lambda moment: -(-moment // to_ns) * to_ns)


# ---- who


def fewer_nodes(spec: Spec, count: int) -> Iterator[Spec]:
    """Yield tests with so many of the nodes, those that faults name rather kept."""
    names = [f"n{number}" for number in range(1, spec.topology.nodes + 1)]
    named = {name for fault in planned(spec).faults for name in fault.targets or ()}
    members = set(names[:spec.topology.nodes - spec.topology.spares])
    for kept in sorted(combinations(names, count), key=lambda kept: len(named - set(kept))):
        if members & set(kept):
            yield only_nodes(spec, kept)


def only_nodes(spec: Spec, kept: Sequence[str]) -> Spec:
    """Return a test with some of the nodes, which get new names. Clients go on preferring the
    nodes that they preferred, as far as those are left."""
    before = spec.topology.nodes
    new = {name: f"n{number}" for number, name in enumerate(kept, 1)}
    plan = planned(spec)
    clients: dict[int, int] = {}
    for client in sorted({op.client for op in plan.operations}):
        node = new.get(f"n{client % before + 1}")
        want = None if node is None else int(node[1:]) - 1
        free = (n for n in range(2 * len(kept) * spec.clients + spec.clients)
                if n not in clients.values() and want in (None, n % len(kept)))
        clients[client] = next(free)
    moved = renumbered(spec, clients)
    faults = [fault for old in plan.faults if (fault := _mapped(old, new)) is not None]
    members = before - spec.topology.spares
    spares = sum(int(name[1:]) > members for name in kept)
    return replaced(moved, faults=faults, topology=of_size(spec.topology, len(kept), spares))


def of_size(topology: Topology, nodes: int, spares: int) -> Topology:
    """Return a topology of another size; a run has one domain at most."""
    size = {"nodes": nodes, "spares": spares}
    domains = topology.domains and {
        name: given.model_copy(update=size) for name, given in topology.domains.items()}
    return topology.model_copy(update={**size, "domains": domains})


def _mapped(fault: PlannedFault, new: Mapping[str, str]) -> PlannedFault | None:
    """Return a fault under new names; None if nothing is left of it."""
    targets = None if fault.targets is None else [
        new.get(n, n) for n in fault.targets if n in new or n.startswith("pool:")]
    grudge = None if fault.grudge is None else {
        new[node]: left for node, dropped in fault.grudge.items()
        if node in new and (left := [new[n] for n in dropped if n in new])}
    if targets == [] or grudge == {}:
        return None
    return fault.model_copy(update={"targets": targets, "grudge": grudge})


def renumbered(spec: Spec, clients: Mapping[int, int]) -> Spec:
    """Return a test whose clients have other numbers, and which has no more of them."""
    operations = [op.model_copy(update={"client": clients[op.client]})
                  for op in planned(spec).operations]
    return replaced(spec, operations=operations, clients=max(clients.values(), default=0) + 1)


def fewer_clients(spec: Spec) -> Iterator[Spec]:
    """Yield tests with no more clients than work, numbered without gaps; then such in which
    each still prefers the node that it preferred."""
    used = sorted({op.client for op in planned(spec).operations})
    dense = {client: number for number, client in enumerate(used)}
    nodes = spec.topology.nodes
    modulo = {client: client % nodes for client in used}
    for clients in (dense, modulo, {client: client for client in used}):
        if len(set(clients.values())) == len(used):
            changed = renumbered(spec, clients)
            if changed.clients < spec.clients:
                yield changed


# ---- what


def at_the_leader(fault: PlannedFault) -> PlannedFault:
    """Return the fault that hits whoever leads when it strikes: it says most with least, and
    means the same whatever led to that leader."""
    name = "partition-leader" if fault.grudge is not None else fault.name
    return fault.model_copy(update={"name": name, "targets": None, "grudge": None, "seed": 0,
                                    "parameters": {} if fault.grudge else fault.parameters})


def unaimed(spec: Spec, number: int) -> Iterator[Spec]:
    """Yield tests in which one fault finds its targets when it strikes."""
    faults = planned(spec).faults
    old = faults[number]
    if old.targets is None and old.grudge is None:
        return
    ways = [at_the_leader(old)]
    ways += [old.model_copy(update={"targets": None, "grudge": None, "seed": seed})
             for seed in (0, 1, 2)]
    for new in ways:
        yield replaced(spec, faults=[*faults[:number], new, *faults[number + 1:]])


def fewer_targets(spec: Spec, number: int) -> Iterator[Spec]:
    """Yield tests in which one fault hits one node less. (Of a partition the grudge decides.)"""
    faults = planned(spec).faults
    old = faults[number]
    if old.grudge is not None or old.targets is None or len(old.targets) < 2:
        return
    for spared in old.targets:
        new = old.model_copy(update={"targets": [name for name in old.targets if name != spared]})
        yield replaced(spec, faults=[*faults[:number], new, *faults[number + 1:]])


def plain_names(spec: Spec) -> Spec:
    """Return a test with keys k0, k1... and values 1, 2... in the order of their appearance.

    Workloads with other values than numbers and lists of numbers keep theirs.
    """
    keys: dict[str, str] = {}
    values: dict[int, int] = {}

    def value(old: Any) -> Any:
        if isinstance(old, list):
            return [value(item) for item in old]
        return values.setdefault(old, len(values) + 1) if type(old) is int else old

    operations = []
    for op in sorted(planned(spec).operations, key=lambda op: op.at):
        key = None if op.key is None else keys.setdefault(op.key, f"k{len(keys)}")
        operations.append(op.model_copy(update={"key": key, "value": value(op.value)}))
    return replaced(spec, operations=operations)


def fault_seeds(spec: Spec) -> Spec:
    """Return a test whose faults have no seeds of their own."""
    return replaced(spec, faults=[fault.model_copy(update={"seed": 0})
                                  for fault in planned(spec).faults])


# ---- where


def in_environment(spec: Spec, fields: Collection[str]) -> Spec:
    """Return a test with the defaults for all fields of its environment but these."""
    environment = {name: value for name, value in spec.sim.environment.items() if name in fields}
    return spec.model_copy(update={
        "sim": spec.sim.model_copy(update={"environment": environment})})


def fewer_options(spec: Spec) -> Iterator[Spec]:
    """Yield tests with one option of workload or system less."""
    for section in ("workload", "system"):
        part: Part = getattr(spec, section)
        for name in part.options:
            if name != "mutant":
                left: Options = {key: value for key, value in part.options.items() if key != name}
                yield spec.model_copy(update={
                    section: part.model_copy(update={"options": left})})
