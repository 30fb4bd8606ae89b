"""Reads in a tree of several domains: who does which, with what token, and where it is sent."""
from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.checker import History, Verdict
from seatrial.harness import generator as gen
from seatrial.harness.generator.simulate import perfect
from seatrial.harness.op import FAIL, OK, Op
from seatrial.harness.testfile import Spec, validated
from seatrial.harness.yamlfile import Document
from seatrial.workloads.keyvalue import Answer, DidNotHappen
from seatrial.workloads.reads import BOUNDED, PREFIX, READ, ROUND, Token
from seatrial.workloads.register import RegisterClient, RegisterOptions, RegisterWorkload

from .memory import Connected, Memory

TREE = """
name: t
workload: {name: register}
clients: 12
topology:
  domains:
    A: {nodes: 3}
    B: {nodes: 1, parent: A, mode: async, id: 7, max_lag: {time: 2}}
    C: {nodes: 1, parent: A, mode: sync}
  pools: {near-a: {domain: A, does: writes}, near-b: {domain: B, does: reads}, near-c: {domain: C}}
"""


class Weakly(Connected):
    """A connection that can read in other ways, too, and remembers how it was asked."""

    asked: list[Any]

    async def read_prefix(self, key: bytes, token: Any) -> Answer:
        self.asked.append((PREFIX, token))
        return self._answer("read", b"1")

    async def read_bounded(self, key: bytes, token: Any, bound_ms: int | None) -> Answer:
        self.asked.append((BOUNDED, token, bound_ms))
        return self._answer("read", b"1")


class WeakMemory(Memory):
    """A system with these."""

    weak_reads = True
    asked: list[Any]

    async def connect(self, test: object, node: int, process: int) -> Connected:
        found = Weakly(self, node)
        found.asked = self.asked = []
        return found


def spec(text: str = TREE) -> Spec:
    return validated(Document.parse("t.yml", text))[1]


def workload(**options: Any) -> RegisterWorkload:
    return RegisterWorkload(RegisterOptions.model_validate({"keys_at_a_time": 4} | options))


def a_test(system: Any, text: str = TREE) -> Any:
    return SimpleNamespace(seed=5, nodes=[None] * 5, concurrency=12, op_timeout_ns=10**9,
                           system=system, spec=spec(text))


def invocations(test: Any, **options: Any) -> list[Op]:
    return perfect(workload(**options).generator(test), gen.Context.start(12), max_ops=5000)


def kinds(ops: list[Op]) -> dict[int, Counter[str]]:
    """Return what the clients of each pool do."""
    found: dict[int, Counter[str]] = {0: Counter(), 1: Counter(), 2: Counter()}
    for op in ops:
        if op.type == "invoke":
            found[op.process % 3][op.f] += 1
    return found


def test_clients_do_what_their_pools_do_and_read_in_every_way() -> None:
    writes, reads, all_ = kinds(invocations(a_test(WeakMemory()))).values()
    assert set(writes) == {"write", "cas"}
    assert set(reads) == {READ, BOUNDED, PREFIX}
    assert set(all_) == {"write", "cas", READ, BOUNDED, PREFIX}
    assert reads[READ] > reads[BOUNDED] > reads.total() / 5


def test_a_bounded_read_names_a_bound_or_goes_by_its_domains() -> None:
    ops = [op for op in invocations(a_test(WeakMemory()), bounds=[0.25]) if op.f == BOUNDED]
    assert {op.value for op in ops if op.process % 3 == 1} == {None, 250}
    assert {op.value for op in ops if op.process % 3 == 2} == {250}, "C has no bound"


def test_a_system_with_linearizable_reads_only_is_asked_for_these() -> None:
    assert set(kinds(invocations(a_test(Memory())))[1]) == {READ}


def test_one_domain_draws_nothing_else() -> None:
    """What seeds have found in one domain, they find again."""
    text = TREE[:TREE.index("topology")]
    fs = {op.f for op in invocations(a_test(WeakMemory(), text))}
    assert fs == {READ, "write", "cas"}


def test_final_reads_are_done_by_who_reads() -> None:
    work, test = workload(), a_test(WeakMemory())
    work.used |= dict.fromkeys([b"r0", b"r1", b"r2"])
    ops = [op for op in perfect(work.final_generator(test), gen.Context.start(12), max_ops=50)
           if op.type == "invoke"]
    assert {op.key for op in ops} == set(work.used)
    assert {op.f for op in ops} == {READ}
    assert all(op.process % 3 for op in ops)


@pytest.mark.parametrize(("options", "old", "new", "complaint"), [
    ({"mix": {"read": 1, "write": 0, "cas": 0}}, "", "",
     "mix: pool near-a only writes: expected write or cas above 0"),
    ({"reads": {"linearizable": 0, "bounded": 0, "prefix": 0}}, "", "",
     "reads: expected at least one weight above 0"),
    ({"bounds": []}, "", "", "bounds: missing, and domain C has no max_lag.time"),
    ({"keys_at_a_time": 12}, "", "", "1 of 12 clients work on a key, and of clients 0 to 0 no "
     "pool reads: expected larger groups"),
    ({"keys_at_a_time": 6}, "near-c: {domain: C}", "near-c: {domain: C, does: reads}",
     "2 of 12 clients work on a key, and of clients 4 to 5 no pool writes"),
])
def test_what_the_pools_can_not_do_is_refused(
    options: dict[str, Any], old: str, new: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        workload(**options).validate(spec(TREE.replace(old, new) if old else TREE), WeakMemory())


def asked(client: RegisterClient, test: Any, f: str, value: Any = None, process: int = 2) -> Op:
    op = Op(f, value, b"r0", process=process)
    client.address(test, op)
    return op


def test_an_invocation_says_where_it_goes_and_what_its_client_has_seen() -> None:
    async def story() -> None:
        system, work = WeakMemory(), workload()
        test = a_test(system)
        prototype = work.client(test)
        assert asked(prototype, test, READ, process=1).domain == 1
        client = await prototype.open(test, 0, 2)
        assert client.seating is not None
        client.seating.asked = 1        # the next two are sent with its own token
        assert [asked(client, test, f).domain for f in (READ, "write", "cas")] == [2, 0, 0]
        await client.invoke(test, asked(client, test, "write", 1))
        read = asked(client, test, PREFIX)
        assert read.domain == 2
        assert (read.epoch, read.term, read.rindex) == (0, 7, 1)
        assert asked(client, test, READ).rindex is None, "it needs none"
        done = await client.invoke(test, read)
        assert (done.type, done.value, done.rindex) == (OK, 1, 2)
        client.seating.asked = 1
        await client.invoke(test, asked(client, test, BOUNDED, 250))
        assert system.asked == [(PREFIX, (0, 7, 1)), (BOUNDED, (0, 7, 2), 250)]

    asyncio.run(story())


def test_now_and_then_a_read_is_sent_with_what_somebody_else_has_seen() -> None:
    test = a_test(WeakMemory())
    client = workload().client(test)
    assert client.seating is not None
    client.token = Token(1, 2, 10)
    client.seating.saw(Token(1, 2, 30))
    client.seating.saw(Token(1, 2, 20))
    tokens = Counter(asked(client, test, PREFIX).rindex for _ in range(ROUND))
    assert tokens == {10: 4, None: 3, 30: 1}


def test_a_read_that_is_refused_fails_and_says_why() -> None:
    async def story() -> None:
        system = WeakMemory(lambda f: DidNotHappen("too old: all nodes are"))
        test = a_test(system)
        client = await workload().client(test).open(test, 0, 2)
        done = await client.invoke(test, asked(client, test, BOUNDED, 250))
        assert (done.type, done.error, done.value) == (FAIL, "too old: all nodes are", 250)

    asyncio.run(story())


def test_what_need_not_be_linearizable_is_not_judged_so() -> None:
    """1, then 2 is written; 1 is read afterwards."""
    rows = [{"process": 0, "type": type, "f": "write", "value": value, "key": b"r0"}
            for value in (1, 2) for type in ("invoke", "ok")]

    def verdict(f: str) -> Verdict:
        read = [{"process": 1, "type": type, "f": f, "value": value, "key": b"r0"}
                for type, value in (("invoke", None), ("ok", 1))]
        test = SimpleNamespace(spec=spec())
        return workload().check(test, History.from_rows(rows + read))[0].verdict  # type: ignore[arg-type]

    assert verdict(PREFIX) is verdict(BOUNDED) is Verdict.PASS
    assert verdict(READ) is Verdict.VIOLATION
