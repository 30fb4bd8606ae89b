"""What holds for every generator, whatever it is built from."""
from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from seatrial.harness import generator as gen
from seatrial.harness.errors import BadInput
from seatrial.harness.generator import Context, simulate
from seatrial.harness.generator.protocol import Answer, Generator
from seatrial.harness.op import FAIL, INFO, INVOKE, OK, Op

LANES = ("nemesis", "nemesis:x")
FS = ("read", "write", "cas", "kill")


def draw(test: Any, ctx: Context) -> dict[str, Any]:
    return {"f": "write", "value": ctx.rng.below(1000)}


def leaves() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.sampled_from(FS).map(lambda f: {"f": f}),
        st.just(draw),
        st.floats(0, 1e-7).map(gen.sleep),
        st.just(gen.log("here")),
    )


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    few, span = st.integers(0, 5), st.floats(1e-9, 1e-7)
    return st.one_of(
        some,
        some.map(lambda gens: gen.phases(*gens)),
        some.map(gen.mix),
        some.map(gen.any),
        some.map(gen.shortest_any),
        some.map(gen.flip_flop),
        st.builds(gen.limit, few, inner),
        st.builds(gen.repeat, inner, few),
        st.builds(gen.cycle, inner, few),
        st.builds(gen.until_ok, inner),
        st.builds(gen.stagger, span, inner, catch_up=st.booleans()),
        st.builds(gen.delay, span, inner, catch_up=st.booleans()),
        st.builds(gen.time_limit, span, inner),
        st.builds(lambda a, s, b, t: gen.cycle_times(s, a, t, b), inner, span, inner, span),
        st.builds(gen.clients, inner),
        st.builds(gen.clients, inner, inner),
        st.builds(gen.on_threads, st.sampled_from([[0], [1, "nemesis:x"]]), inner),
        st.builds(gen.each_thread, inner),
        st.builds(gen.each_process, inner),
        st.builds(lambda a, b: gen.clients(gen.reserve(1, a, b)), inner, inner),
        st.builds(gen.process_limit, st.integers(1, 10), inner),
        st.builds(gen.concurrency_limit, st.integers(1, 3), inner),
        st.builds(gen.f_map, st.just({"read": "cas"}), inner),
        st.builds(gen.filter, st.just(lambda op: op.f != "kill"), inner),
        st.builds(lambda g: gen.concurrent_generator(1, "abc", lambda key: g), inner),
    )


trees = st.recursive(leaves(), combined, max_leaves=8).map(gen.lift)
outcomes = st.lists(st.tuples(st.sampled_from([OK, FAIL, INFO]), st.integers(0, 50)),
                    min_size=1, max_size=10)


class Checked(Generator, frozen=True):
    """Its child, with all that must hold of every answer and every update checked."""

    gen: Generator

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = gen.validate(self.gen).op(test, ctx)
        if not isinstance(answer, tuple):
            assert self.gen.op(test, ctx) is answer, "asking again gave another answer"
            return answer
        op, after = answer
        again = self.gen.op(test, ctx)
        assert isinstance(again, tuple), "asking again gave another answer"
        assert again[0] == op, "asking again gave another operation"
        assert again[0] is not op, "two answers share an operation"
        return op, Checked(after.gen)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        if not self.gen.hears:
            assert isinstance(after, Generator)
            assert after == self.gen, "an event changed a generator that hears of nothing"
        return Checked(after)

    def seeded(self, seed: int) -> Generator:
        return Checked(self.gen.seeded(seed))


def history_of(tree: Generator, outcome: list[tuple[str, int]], *, seed: int = 1) -> list[Op]:
    turns = iter(range(10**9))

    def respond(op: Op, thread: int) -> tuple[str, int]:
        return outcome[next(turns) % len(outcome)]
    try:
        return simulate.run(tree, respond, Context.start(3, LANES), seed=seed, max_ops=40)
    except (simulate.Stuck, BadInput):
        return []                    # it is meant for threads that it doesn't get


@given(trees, outcomes)
def test_every_tree_keeps_the_protocol(tree: Generator, outcome: list[tuple[str, int]]) -> None:
    history = history_of(Checked(tree), outcome)
    busy: dict[int, Op] = {}
    crashed: set[int] = set()
    ended = 0
    for op in history:
        assert op.process not in crashed, "a process went on after info"
        if op.type == INVOKE:
            assert op.process not in busy, "a process did two things at once"
            assert op.f in FS
            busy[op.process] = op
        else:
            assert busy.pop(op.process).f == op.f
            assert op.time_ns >= ended, "completions went back in time"
            ended = op.time_ns
            if op.type == INFO and op.process >= 0:
                crashed.add(op.process)
    assert not busy, "an invocation was never completed"


@given(trees, outcomes, st.integers(0, 2**64 - 1))
def test_the_same_seed_gives_the_same_history(
        tree: Generator, outcome: list[tuple[str, int]], seed: int) -> None:
    assert history_of(tree, outcome, seed=seed) == history_of(tree, outcome, seed=seed)


@given(trees, st.integers(0, 5))
def test_limit_is_never_exceeded(tree: Generator, n: int) -> None:
    history = history_of(gen.limit(n, tree), [(OK, 10)])
    assert sum(op.type == INVOKE for op in history) <= n


@given(trees, outcomes, st.integers(1, 100))
def test_nothing_is_due_after_a_time_limit(
        tree: Generator, outcome: list[tuple[str, int]], limit_ns: int) -> None:
    begun = [op for op in history_of(gen.time_limit(limit_ns / 1e9, tree), outcome)
             if op.type == INVOKE]
    assert not begun or begun[-1].time_ns - begun[0].time_ns < limit_ns


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_faults_are_the_same_however_fast_clients_are(latencies: list[int]) -> None:
    fault = gen.limit(5, gen.mix(*[gen.cycle(gen.f_map({"write": f}, gen.limit(1, draw)))
                                   for f in ("kill", "pause", "cut")]))

    def faults(outcome: list[tuple[str, int]]) -> list[tuple[str, Any]]:
        tree = gen.clients(gen.limit(30, gen.mix(draw, gen.repeat({"f": "read"}))), fault)
        return [(op.f, op.value) for op in history_of(gen.lift(tree), outcome)
                if op.type == INVOKE and op.process < 0]
    made = faults([(OK, ns) for ns in latencies])
    assert len(made) == 5
    assert made == faults([(OK, 10)])


def test_another_seed_gives_another_history() -> None:
    tree = gen.lift(gen.limit(20, draw))
    assert history_of(tree, [(OK, 1)], seed=1) != history_of(tree, [(OK, 1)], seed=2)
