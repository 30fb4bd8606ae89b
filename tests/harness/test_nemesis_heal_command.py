"""``seatrial heal``: which labs it heals, what it says, and the exit code."""
from __future__ import annotations

import pytest

from seatrial.harness.cli import main
from seatrial.harness.commands import heal as command
from seatrial.harness.hosts.state import Condition
from seatrial.harness.nemesis import Healed


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three labs: used by a living run, kept, and dead with its hosts gone."""
    healed: list[str] = []
    conditions = {"used": Condition.IN_USE, "kept": Condition.KEPT, "gone": Condition.DEAD}

    class State:
        def __init__(self, name: str) -> None:
            self.alive = name != "gone"

    def heal_lab(name: str) -> int:
        healed.append(name)
        return 0

    monkeypatch.setattr(command.state, "require_root", lambda: None)
    monkeypatch.setattr(command.state, "names", lambda: list(conditions))
    monkeypatch.setattr(command.state, "condition", conditions.__getitem__)
    monkeypatch.setattr(command.state, "owner_died", lambda name: False)
    monkeypatch.setattr(command.state, "read", State)
    monkeypatch.setattr(command, "_heal_lab", heal_lab)
    return healed


def test_without_a_name_labs_in_use_are_left_alone(
    labs: list[str], capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["heal"]) == 0
    assert labs == ["kept"]
    out = capsys.readouterr().out
    assert "lab used: in use, left alone (seatrial heal --lab used)" in out
    assert "lab gone: its hosts don't run, so nothing is broken there" in out


def test_a_lab_in_use_whose_owner_died_is_healed(
    labs: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command.state, "owner_died", lambda name: True)
    assert main(["heal"]) == 0
    assert labs == ["used", "kept"]


def test_all_means_those_in_use_too(labs: list[str]) -> None:
    assert main(["heal", "--all"]) == 0
    assert labs == ["used", "kept"]


def test_one_lab_is_healed_by_name(labs: list[str]) -> None:
    assert main(["heal", "--lab", "used"]) == 0
    assert labs == ["used"]


@pytest.mark.parametrize("argv", [["--lab", "x", "--all"], ["--lab", "No!"], ["x"]])
def test_bad_arguments_end_with_254(
    labs: list[str], argv: list[str], capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["heal", *argv]) == 254
    assert labs == []
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_lab_that_does_not_exist_ends_with_255(capsys: pytest.CaptureFixture[str]) -> None:
    import os

    if os.geteuid() != 0:
        pytest.skip("needs root")
    assert main(["heal", "--lab", "no-such-lab"]) == 255
    assert "lab no-such-lab: is not up" in capsys.readouterr().err


@pytest.mark.parametrize(("healed", "line"), [
    (Healed("n1"), "n1: nothing to undo"),
    (Healed("n1", ["pause", "kill"]), "n1: undid pause, kill (the node stays down)"),
    (Healed("n1", ["pause"], left={"member-add": "no leader was found"}),
     "n1: undid pause; member-add stays as it is: no leader was found"),
    (Healed("n1", error="no route to host"), "n1: could not be healed: no route to host"),
])
def test_each_host_has_a_line(healed: Healed, line: str) -> None:
    assert command.told(healed) == line


def test_a_host_that_could_not_be_healed_makes_the_exit_code_255(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    from seatrial.harness.hosts import labs

    class World:
        hosts = ()

        def close(self) -> None:
            pass

    async def heal(hosts: object) -> list[Healed]:
        return [Healed("n1", ["pause"]), Healed("n2", error="no route to host")]

    monkeypatch.setattr(labs, "view", lambda name: World())
    monkeypatch.setattr(command, "heal", heal)
    monkeypatch.setattr(command.state, "require_root", lambda: None)
    assert main(["heal", "--lab", "x"]) == 255
    captured = capsys.readouterr()
    assert captured.out == "lab x: n1: undid pause\n"
    assert captured.err == "lab x: n2: could not be healed: no route to host\n"
