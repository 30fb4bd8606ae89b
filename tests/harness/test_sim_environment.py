"""The surroundings of a simulated cluster: what a file may say about them, and what it may not."""
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from seatrial.harness.errors import BadInput
from seatrial.harness.sim.environment import FIELDS, Environment, environment
from seatrial.harness.testfile import Spec, validated
from seatrial.harness.yamlfile import Document

SMALL = "name: small\nworkload: {name: register}\n"


def spec(text: str) -> Spec:
    return validated(Document.parse("t.yml", text))[1]


def test_the_default_is_a_calm_network_where_nothing_gets_lost() -> None:
    calm = environment({})
    assert calm == Environment()
    assert all(getattr(calm, name) == 0 for name in FIELDS
               if name.endswith("_ppm") or name == "bytes_per_s")
    assert calm.crash_points == ()


def test_it_survives_the_way_through_a_file() -> None:
    rough = environment({"latency_ns": 7, "frames": True, "crash_points": [["vote", 9]]})
    assert rough.crash_points == (("vote", 9),)
    assert environment(msgspec.json.decode(msgspec.json.encode(rough))) == rough


def test_a_change_leaves_the_other_fields_alone() -> None:
    changed = environment({"latency_ns": 7}).changed({"sync_ns": 8})
    assert (changed.latency_ns, changed.sync_ns, changed.jitter_ns) == (7, 8, 50_000)
    with pytest.raises(BadInput, match="sync_ns: expected"):
        changed.changed({"sync_ns": -1})


@pytest.mark.parametrize(("fields", "complaint"), [
    ({"latncy_ns": 5}, "unknown key 'latncy_ns'; did you mean 'latency_ns'? (known: "),
    ({"latency_ns": -1}, "latency_ns: expected `int` >= 0"),
    ({"latency_ns": 1 << 70}, "latency_ns: expected `int` <= 60000000000"),
    ({"latency_ns": 0.5}, "latency_ns: expected `int`, got `float`"),
    ({"latency_ns": True}, "latency_ns: expected `int`, got `bool`"),
    ({"loss_ppm": 1_000_001}, "loss_ppm: expected `int` <= 1000000"),
    ({"frames": 1}, "frames: expected `bool`, got `int`"),
    ({"segment_bytes": 1}, "segment_bytes: expected `int` >= 4096"),
    ({"crash_points": [["vot", 1]]}, "crash_points: unknown point 'vot'; did you mean 'vote'?"),
    ({"crash_points": [["vote", -1]]}, "crash_points: expected `int` >= 0"),
])
def test_what_can_not_be_is_refused_in_one_line(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInput) as caught:
        environment(fields)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_a_test_file_fixes_some_of_it_and_leaves_the_rest_to_the_seed() -> None:
    assert spec(SMALL).sim.swarm
    given = spec(SMALL + "sim: {swarm: false, environment: {latency_ns: 5}}\n").sim
    assert (given.swarm, given.environment) == (False, {"latency_ns": 5})


def test_a_test_file_with_an_impossible_environment_names_line_and_key() -> None:
    with pytest.raises(BadInput) as caught:
        spec(SMALL + "sim: {environment: {loss_ppm: -1}}\n")
    assert str(caught.value) == "t.yml:3: sim.environment: loss_ppm: expected `int` >= 0"
