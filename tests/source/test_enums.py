"""An enumeration that both Python and compiled code name is the same in both."""
from __future__ import annotations

import enum
import re
from pathlib import Path

import pytest

from seatrial.checker.models import Family, Role

CHECKER = Path(__file__).parents[2] / "checker"
ONE_SIDED = {"LEFT_OUT": 5,             # the search's mark
             "USER": 17}                # of a user's model: never asked for what it means


@pytest.mark.parametrize(("declared_in", "members"), [("roles.pxd", Role), ("steps.pxd", Family)])
def test_both_sides_name_the_same_numbers(declared_in: str, members: type[enum.IntEnum]) -> None:
    text = (CHECKER / declared_in).read_text(encoding="utf-8")
    body = re.split(rf"^cdef enum {members.__name__}:.*\n", text, flags=re.M)[1]
    body = re.split(r"^\S", body, flags=re.M)[0]
    compiled = {name: int(number) for name, number in re.findall(r"^    (\w+) = (\d+)", body, re.M)}
    python = {member.name: int(member) for member in members}
    assert len(compiled) > 5
    for name in compiled.keys() & python.keys():
        assert compiled[name] == python[name], name
    assert dict(compiled.items() ^ python.items()).items() <= ONE_SIDED.items()
