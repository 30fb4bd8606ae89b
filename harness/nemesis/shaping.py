"""The network's impairments on real hosts: netem, on the packets between targets and the others.

netem works where packets leave. So what happens to packets *from* a target is done on the target,
to those that go to the other hosts and to clients; what happens to packets *to* a target is done on
the other hosts. The controller's packets are never touched. One such fault a host at a time: netem
would have to guess what two of them mean.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..protocols import Host
from ..rng import Rng
from .agents import addresses, call, everywhere, stop_everywhere
from .fault import Fault, FaultError
from .kind import Kind, Range, ranges, until
from .process import choose
from .scene import Scene

if TYPE_CHECKING:
    from .hosts import HostScene

BOTH, IN, OUT = range(3)          # ``way``: packets to and from the targets, to them, from them
PERCENT_PPM = 10_000
REORDER_GAP = "20ms"              # what the overtaken packets wait
Netem = Callable[[Mapping[str, int]], list[str]]


def percent(ppm: int) -> str:
    """Return a share as tc writes it."""
    return f"{ppm / PERCENT_PPM:g}%"


@dataclass(frozen=True)
class Impairment(Kind["HostScene"]):
    """Something happens to packets. netem: its words for tc; drops: whether that loses packets."""

    name: str
    cls: str
    netem: Netem
    parameters: Mapping[str, Range] = field(default_factory=dict)
    drops: bool = False

    def impossible(self, scene: HostScene) -> str | None:
        return scene.cannot("shape")

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        if any(isinstance(fault_kind(other), Impairment) for other in scene.others(fault)):
            raise FaultError("another fault shapes the hosts' packets already")
        fault.targets = await choose(scene, fault, rng)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        words = self.netem(fault.parameters)

        async def shape(host: Host) -> None:
            await call(host, "shape", id=fault.id, name=fault.name, netem=words,
                       to=destinations(scene, fault, host))

        await everywhere(shapers(scene, fault), shape)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        async def is_felt(host: Host) -> bool:
            seen = await call(host, "shaped")
            return bool(seen["dropped" if self.drops else "packets"])

        await everywhere(shapers(scene, fault), lambda host: until(
            lambda: is_felt(host), scene.prove_s, f"{host.name}: no packet felt it"))

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await stop_everywhere(shapers(scene, fault), fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        for seen in await everywhere(shapers(scene, fault), lambda host: call(host, "shaped")):
            if seen["there"]:
                raise FaultError("netem is still there")


def shapers(scene: HostScene, fault: Fault) -> list[Host]:
    """Return the hosts on which packets are touched: those they leave from."""
    return [host for host in scene.test.nodes if destinations(scene, fault, host)]


def destinations(scene: HostScene, fault: Fault, host: Host) -> list[str]:
    """Return the addresses to which packets from this host are touched."""
    way, found = fault.parameters.get("way", BOTH), []
    if host.name in fault.targets and way != IN:
        found += [address for peer in scene.test.nodes if peer is not host
                  for address in addresses(peer)]
        found += [address for pool in scene.test.pools.values() for address in pool if address]
    elif host.name not in fault.targets and way != OUT:
        found += [address for peer in scene.hosts(fault.targets) for address in addresses(peer)]
    return found


def fault_kind(fault: Fault) -> Kind[HostScene] | None:
    """Return which of these kinds a fault is of."""
    return next((kind for kind in KINDS if kind.name == fault.name), None)


WAY = (0, 2)
KINDS = (
    Impairment("loss", "omission", lambda p: ["loss", percent(p["loss_ppm"])],
               ranges(loss_ppm=(10_000, 500_000), way=WAY), drops=True),
    Impairment("delay", "timing",
               lambda p: ["delay", f"{p['delay_us']}us", f"{p['jitter_us']}us"],
               ranges(delay_us=(1000, 250_000), jitter_us=(0, 100_000), way=WAY)),
    Impairment("reorder", "timing",
               lambda p: ["delay", REORDER_GAP, "reorder", percent(p["reorder_ppm"])],
               ranges(reorder_ppm=(10_000, 600_000), way=WAY)),
    Impairment("duplicate", "timing", lambda p: ["duplicate", percent(p["duplicate_ppm"])],
               ranges(duplicate_ppm=(10_000, 600_000), way=WAY)),
    Impairment("corrupt", "arbitrary", lambda p: ["corrupt", percent(p["corrupt_ppm"])],
               ranges(corrupt_ppm=(1000, 100_000), way=WAY)),
    Impairment("rate", "timing", lambda p: ["rate", f"{8 * p['bytes_per_s']}bit"],
               ranges(bytes_per_s=(4000, 1_000_000), way=WAY)),
)
