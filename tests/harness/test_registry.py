"""Workloads and systems by name: ours, installed ones, and a user's own class."""
from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from seatrial.harness import registry
from seatrial.harness.errors import BadInput
from seatrial.harness.registry import SYSTEMS, WORKLOADS, known, make
from seatrial.harness.testfile import Part
from seatrial.harness.yamlfile import Document, Section

FILE = "name: t\nworkload:\n  name: register\n  options: {keys: 3}\n"


class Mine:
    """A user's own workload."""

    class Options(Section):
        """Its options."""

        size: int = 1

    def __init__(self, options: Any) -> None:
        self.options = options


class Bare:
    """A class that says nothing of its options."""


@pytest.fixture(autouse=True)
def nothing_is_known_yet() -> Iterator[None]:
    """The table is looked up once in a process; here, in each test."""
    known.cache_clear()
    yield
    known.cache_clear()


def made(name: str, **options: Any) -> Any:
    return make(WORKLOADS, Part(name=name, options=options), Document.parse("t.yml", FILE),
                "workload")


def test_our_own_are_found_from_the_source_tree_without_installation() -> None:
    assert known(WORKLOADS)["register"] == "seatrial.workloads.register:RegisterWorkload"
    assert known(SYSTEMS)["node"] == "seatrial.workloads.systems.node:NodeSystem"
    assert made("register", keys=3).options.keys == 3


def test_an_installed_package_plugs_in_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", f"{__name__}:Mine", WORKLOADS)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Mine.__module__])
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert isinstance(made("mine", size=4), Mine)


def test_a_class_can_be_named_outright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "users_own", sys.modules[Mine.__module__])
    assert made("users_own:Mine", size=4).options.size == 4


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("regster", {}, "t.yml:3: workload.name: unknown workload 'regster'; did you mean "
                        "'register'? (known: counter, lock, register"),
        ("nowhere.at_all:Class", {}, "t.yml:3: workload.name: can't import 'nowhere.at_all': "),
        ("json:Nothing", {}, "t.yml:3: workload.name: json has no 'Nothing'"),
        (":Class", {}, "t.yml:3: workload.name: can't import ''"),
        ("json:JSONDecoder", {}, "t.yml:3: workload.name: json:JSONDecoder has no Options model"),
        ("register", {"kys": 3}, "t.yml:4: workload.options.kys: unknown key; did you mean 'keys'"),
        ("register", {"keys": "3"}, "t.yml:4: workload.options.keys: expected a whole number, "),
        ("register", {"keys_at_a_time": 21}, "t.yml:4: workload.options.keys_at_a_time: expected "
                                             "at most 20, got 21"),
        ("register", {"mix": {"raed": 1}}, "t.yml:4: workload.options.mix.raed: unknown key; did "
                                           "you mean 'read'? (known: cas, read, write)"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    name: str, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadInput, match="^" + re.escape(complaint)) as caught:
        made(name, **options)
    assert "\n" not in str(caught.value)


def test_somebody_elses_pyproject_beside_the_package_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "harness").mkdir()
    text = '[project]\nname = "x"\n[project.entry-points."seatrial.workloads"]\na = "b:C"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "harness" / "registry.py"))
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    assert known(WORKLOADS) == {}
