"""A consensus machine as bytes: what goes in comes out, and no field is forgotten."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from seatrial.core.errors import InvariantViolation
from seatrial.core.membership import Configuration
from seatrial.core.raft import Raft
from seatrial.core.raft_encoding import FIELDS, RaftEncoding

CORE = Path(__file__).parents[2] / "core"
DECLARED = {"RaftState": "raft_state.pxd", "Progress": "progress.pxd", "Log": "log.pxd",
            "Slot": "log.pxd", "Chunks": "chunks.pxd"}
FIELD = re.compile(r"^    (?:cdef )?(?:readonly )?(?:\w+(?:\[\w+\])?[ *]+)(\w+)\s*(?:#.*)?$")


def fields(text: str, name: str) -> list[str]:
    """Return the fields that a .pxd declares for a class or a struct."""
    body = re.split(rf"^cdef (?:class|struct) {name}\b.*:.*\n", text, flags=re.M)[1]
    body = re.split(r"^\S", body, flags=re.M)[0]
    return [found[1] for line in body.splitlines() if (found := FIELD.match(line))]


def machine(node: int, **settings: int) -> Raft:
    return Raft(node, Configuration([1, 2, 3]), 7, 1 << 40, 1, 1 << 30, 1 << 16, 1 << 20,
                bool(settings.get("leases")))


@pytest.mark.parametrize("name", FIELDS)
def test_what_becomes_of_each_field_is_known(name: str) -> None:
    declared = fields((CORE / DECLARED[name]).read_text(encoding="utf-8"), name)
    assert len(declared) > 5 or name == "Slot"
    assert sorted(declared) == sorted(FIELDS[name]), (
        "core/raft_encoding.pyx: say there what becomes of a new field, and write it where two "
        "machines that differ in it go on differently")


def test_every_chapter_of_the_machine_keeps_its_fields_in_one_place() -> None:
    for path in [*CORE.glob("raft_*.pxd"), CORE / "raft.pxd"]:
        if path.name in ("raft_state.pxd", "raft_encoding.pxd"):
            continue
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"^cdef class (\w+)", text, re.M):
            assert fields(text, name) == [], path.name


def test_a_new_field_is_noticed() -> None:
    text = (CORE / "raft_state.pxd").read_text(encoding="utf-8")
    before = fields(text, "RaftState")
    more = text.replace("    cdef readonly uint64_t term\n",
                        "    cdef readonly uint64_t term\n    cdef uint64_t[3] nova  # new\n")
    assert set(fields(more, "RaftState")) - set(before) == {"nova"}


def test_a_state_that_was_read_is_written_the_same() -> None:
    encoding = RaftEncoding()
    one, other = machine(1), machine(1)
    one.restore(3, 2, b"")
    state = encoding.encoded(one)
    assert encoding.encoded(other) != state
    encoding.decoded(other, state)
    assert encoding.encoded(other) == state
    assert (other.term, other.vote) == (3, 2)


def test_under_other_names_a_machine_is_the_one_that_would_be_there() -> None:
    encoding = RaftEncoding()
    one, other = machine(1), machine(2)
    one.restore(3, 1, b"")
    other.restore(3, 2, b"")
    assert encoding.encoded(one, {1: 2, 2: 1, 3: 3}) == encoding.encoded(other)
    assert encoding.encoded(one, {1: 1, 2: 3, 3: 2}) == encoding.encoded(one)


def test_a_machine_with_leases_is_refused() -> None:
    with pytest.raises(InvariantViolation, match="reads, leases or clients"):
        RaftEncoding().encoded(machine(1, leases=1))
