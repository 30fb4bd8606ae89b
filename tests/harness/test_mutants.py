"""The catalogue of planted bugs says of each what there is to say, and knows all."""
from __future__ import annotations

import re
from collections import Counter

from seatrial.harness.mutants import MUTANTS, PARTS, PROPERTIES
from seatrial.workloads.systems.wheels import mutant_names


def test_the_catalogue_holds_the_planted_bugs_of_the_sources() -> None:
    assert sorted(mutant.name for mutant in MUTANTS) == sorted(mutant_names())


def test_each_part_of_the_node_has_planted_bugs() -> None:
    parts = Counter(mutant.part for mutant in MUTANTS)
    assert set(parts) == set(PARTS)
    assert parts.total() >= 18


def test_each_planted_bug_has_a_source_and_a_property_that_it_breaks() -> None:
    for mutant in MUTANTS:
        assert mutant.breaks
        assert set(mutant.breaks) <= set(PROPERTIES), mutant.name
        assert re.search(r"paper|thesis|#\d|20\d\d", mutant.source), mutant.name
        assert mutant.what[0].islower(), mutant.name
        assert not mutant.what.endswith("."), mutant.name
