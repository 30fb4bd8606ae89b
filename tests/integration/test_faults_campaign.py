"""A whole campaign on real hosts: generator, scheduler, nemesis, and what the history says."""
from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.harness import generator as gen
from seatrial.harness.nemesis import Options, packages, partition, process
from seatrial.harness.op import INFO, NEMESIS, OK, Op
from seatrial.harness.scheduler import Scheduler

from .rig import all_rules, rig_of

pytestmark = [pytest.mark.cluster, pytest.mark.netns]
NAMES = tuple(kind.name for kind in (*process.KINDS, *partition.KINDS))


class Bystander:
    """A client with nothing to do."""

    async def open(self, test: Any, node: int, process: int) -> Bystander:
        return self

    async def invoke(self, test: Any, op: Op) -> Op:
        return op.completed(OK)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_campaign_proves_every_fault_and_every_recovery(lanes: int) -> None:
    history: list[Op] = []
    package = packages(NAMES, Options(
        duration_s=0.1, gap_s=0.1, lanes=lanes, targets=("one", "minority")))

    with rig_of(5) as rig:
        rig.system.leader = rig.hosts[0]
        origin_ns = time.monotonic_ns()
        test = SimpleNamespace(
            nodes=rig.hosts, world=rig.world, system=rig.system, seed=5, concurrency=1,
            op_timeout_ns=10**9, now_ns=lambda: time.monotonic_ns() - origin_ns)

        async def campaign() -> None:
            await package.nemesis.setup(test, history.append)   # type: ignore[arg-type]
            try:
                async with Scheduler(test, Bystander(), history.append, origin_ns=origin_ns,
                                     nemeses=dict.fromkeys(package.lanes, package.nemesis)) as run:
                    await run.run(gen.on_update(stop_after_each_name, package.generator))
                    await run.run(package.final_generator)
            finally:
                for host in await package.nemesis.teardown(test):  # type: ignore[arg-type]
                    assert host.error is None

        def stop_after_each_name(generator: Any, test: Any, ctx: Any, event: Op) -> Any:
            proven = {fault.name for fault in package.nemesis.faults if fault.effective_ns}
            return gen.NOTHING if proven == set(NAMES) else generator.update(test, ctx, event)

        asyncio.run(campaign())
        rules = [asyncio.run(all_rules(host)) for host in rig.hosts]
    assert "SEATRIAL" not in "".join(rules)
    assert {op.process for op in history} == {NEMESIS}
    assert {op.type for op in history} == {INFO}
    for fault in package.nemesis.faults:
        assert fault.error is None
        assert fault.recovered_ns is not None
        life = [op for op in history if "phase" in op.value and op.value["id"] == fault.id]
        assert [op.value["phase"] for op in life] == [
            "requested", "effective", "ended", "recovered"]
        assert [op.time_ns for op in life] == sorted(op.time_ns for op in life)
