"""A replica's part in a tree of domains as bytes: no field is forgotten.

That what is written and read back goes on alike is tested with random traces, in
tests/harness/test_sim_exhaustive.py.
"""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from seatrial.core.domain_encoding import FIELDS

from .test_raft_encoding import fields

CORE = Path(__file__).parents[2] / "core"
DECLARED = {"RootCommit": "root_commit.pxd", "Child": "root_commit.pxd",
            "Mark": "root_commit.pxd",
            "Downlinks": "downlinks.pxd", "Downlink": "downlinks.pxd", "Uplink": "uplink.pxd",
            "Children": "children.pxd", "Domain": "domain.pxd"}


@pytest.mark.parametrize("name", FIELDS)
def test_what_becomes_of_each_field_is_known(name: str) -> None:
    declared = fields((CORE / DECLARED[name]).read_text(encoding="utf-8"), name)
    assert len(declared) > 1
    assert sorted(declared) == sorted(FIELDS[name]), (
        "core/domain_encoding.pyx: say there what becomes of a new field, and write it where two "
        "replicas that differ in it go on differently")


def test_every_chapter_of_domains_is_looked_at() -> None:
    text = "".join((CORE / name).read_text(encoding="utf-8") for name in set(DECLARED.values()))
    assert set(re.findall(r"^cdef (?:class|struct) (\w+)", text, re.M)) <= set(FIELDS)
