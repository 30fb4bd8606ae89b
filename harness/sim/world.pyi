from collections.abc import Iterable
from typing import Any

from .environment import Environment
from .machines import Machines
from .network import Network

Pair = tuple[int, int]
"""(receiver, sender)"""

class World(Machines):
    """Nodes, network, disks and clocks in virtual time. Hosts count from 0, node ids from 1.

    Endpoints are the hosts, then the client pools. Methods with a host raise ValueError for one
    that is not there. What a node does may raise InvariantViolation out of any of them.
    """

    network: Network
    resets: int
    refused_frames: int

    def __init__(
        self, seed: int, hosts: int, environment: Environment, *, record: bool = False,
        pools: int = 1,
    ) -> None: ...
    def calm(self) -> None: ...
    def cut(self, pairs: Iterable[Pair]) -> int: ...
    def impair(
        self, pairs: Iterable[Pair], *, delay_ns: int = 0, jitter_ns: int = 0, loss_ppm: int = 0,
        duplicate_ppm: int = 0, reorder_ppm: int = 0, corrupt_ppm: int = 0, bytes_per_s: int = 0,
    ) -> int: ...
    def lift(self, handle: int) -> None: ...
    def hears(self, receiver: int, sender: int) -> bool: ...
    def met(self, pairs: Iterable[Pair]) -> dict[str, int]: ...
    def counters(self) -> dict[str, int]: ...
    def reset(self, a: int, b: int) -> None: ...
    def connect(self, pool: int, host: int, client: Any) -> int:
        """Open a connection. ``client`` hears ``connected(number)``, ``received(number, bytes)``
        and ``closed(number)``, none of them before this returns."""

    def send(self, number: int, data: bytes) -> None: ...
    def close(self, number: int) -> None: ...
