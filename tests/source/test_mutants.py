"""The normal build holds no planted bug, not even its name: looked for in the binaries."""
from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.fixture
def names(root: Path) -> list[str]:
    """The planted bugs, as the C header lists them for a +mutants build."""
    header = (root / "core/mutant.h").read_text(encoding="ascii")
    return re.findall(r'"([a-z-]+),?"', header)


def test_the_binaries_hold_no_name_of_a_planted_bug(root: Path, names: list[str]) -> None:
    assert len(names) >= 30, "core/mutant.h no longer lists the names where this test looks"
    binaries = sorted((root / "core").glob("*.so"))
    assert binaries, "nothing is built: call make test, or setup.py build_ext --inplace"
    for binary in binaries:
        content = binary.read_bytes().lower().replace(b"_", b"-")   # however it is spelled
        assert [name for name in names if name.encode() in content] == [], binary.name


def test_the_numbers_of_planted_bugs_are_their_places_in_the_list(
    root: Path, names: list[str]
) -> None:
    constants = re.findall(r"^    ([A-Z_]+) = (\d+)$",
                           (root / "core/mutant.pxd").read_text(encoding="ascii"), re.M)
    assert constants == [(name.upper().replace("-", "_"), str(number))
                         for number, name in enumerate(names, 1)]


def test_the_normal_build_knows_no_mutants() -> None:
    from seatrial.core import mutants
    assert mutants.NAMES == ()
