"""Several nemeses as one: each operation goes to all that understand it."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..op import INFO, Op
from .fault import Fault
from .heal import Healed
from .nemesis import HEAL, Nemesis, Record

if TYPE_CHECKING:
    from ..test import Test


class ComposedNemesis:
    """Routes by ``op.f``. ``heal`` is the one operation that several may understand."""

    def __init__(self, parts: Sequence[Nemesis]) -> None:
        self.parts = tuple(parts)
        self.fs = frozenset().union(*(part.fs for part in parts))
        for f in self.fs - {HEAL}:
            if sum(f in part.fs for part in parts) > 1:
                raise BadInput(f"fault {f!r}: two of the composed nemeses claim it")

    async def setup(self, test: Test, record: Record) -> None:
        """Set all up, in order."""
        for part in self.parts:
            await part.setup(test, record)

    async def invoke(self, test: Test, op: Op) -> Op:
        """Hand the operation on."""
        done = op.completed(INFO, op.value, f"no nemesis knows {op.f!r}")
        for part in self.parts:
            if op.f in part.fs:
                done = await part.invoke(test, op)
        return done

    async def teardown(self, test: Test) -> list[Healed]:
        """Tear all down in reverse order, whatever happens to one of them."""
        healed: list[Healed] = []
        errors: list[Exception] = []
        for part in reversed(self.parts):
            try:
                healed += await part.teardown(test)
            except Exception as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup("tearing down nemeses", errors)
        return healed

    @property
    def faults(self) -> list[Fault]:
        """All faults, in the order they were asked for."""
        return sorted((fault for part in self.parts for fault in part.faults),
                      key=lambda fault: fault.requested_ns or 0)
