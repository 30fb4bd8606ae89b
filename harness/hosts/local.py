"""World ``local``: the namespace hosts of a lab on this machine, as ``Host``s."""
from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from ..errors import HarnessFailure
from . import state
from .cgroup import Cgroup
from .lab import Lab
from .labs import LabWorld
from .plan import LOCAL, Plan, plan

CHECKOUT = Path(__file__).resolve().parents[2]


class LocalWorld(LabWorld):
    """A ``protocols.World`` of namespace hosts."""

    name = LOCAL

    def __init__(self, plan: Plan, lab: Lab | None, masked: Iterable[Path] = ()) -> None:
        super().__init__(plan, lab)
        self._masked = (CHECKOUT, *masked)

    @classmethod
    def create(cls, nodes: int = 5, pools: Iterable[str] = ("clients",), *,
               lab: str | None = None, masked: Iterable[Path] = ()) -> LocalWorld:
        """Claim a new lab (under a random name) of that shape; ``make`` it or ``up`` next.

        masked: what hosts must not see besides the checkout: the store, for example.
        """
        shape = plan(lab or f"run-{secrets.token_hex(4)}", nodes, pools)
        return cls(shape, Lab.create(shape), masked)

    @classmethod
    def attach(cls, lab: str) -> LocalWorld:
        """Become the owner of a lab that ``up`` left running."""
        owned = Lab.attach(lab)
        return cls(owned.state.plan, owned)

    @classmethod
    def view(cls, lab: str) -> LocalWorld:
        """Use a running lab that another process (usually our parent) owns."""
        known = state.read(lab)
        if known is None or not known.alive:
            raise HarnessFailure(f"lab {lab}: is not up (seatrial up --lab {lab})")
        return cls(known.plan, None)

    def make(self) -> None:
        """Make the hosts; return when each runs its sshd (which may not listen yet)."""
        self.lab.start(self._masked)

    def last_words(self, host: str) -> str | None:
        """What a host's sshd said at its end, as far as the lab is ours."""
        return self._lab.last_words(host) if self._lab else None

    def freeze(self, host: str) -> None:
        """Stop all processes of a host, sshd too; return when they stand still."""
        self._cgroup(host).freeze()

    def thaw(self, host: str) -> None:
        """Let them go on."""
        self._cgroup(host).thaw()

    def _cgroup(self, host: str) -> Cgroup:
        return Cgroup.of_lab(self.plan.lab).child("hosts", host)
