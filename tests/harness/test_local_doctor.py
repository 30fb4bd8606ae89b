"""``seatrial doctor``: true about this machine, and helpful about what it lacks."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from seatrial.harness import cli
from seatrial.harness.hosts import doctor, keeper
from seatrial.harness.hosts.doctor import Finding, examine_local
from seatrial.harness.hosts.lab import NEEDED

from .machine import assert_as_before, machine_state


def findings() -> dict[str, Finding]:
    """All rows, by what they are about."""
    return {row.what: row for row in examine_local()}


@pytest.mark.netns
def test_where_labs_work_nothing_is_missing_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if os.geteuid() != 0:
        pytest.skip("local hosts need root")
    before = machine_state([])
    assert cli.main(["doctor"]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("namespaces", "overlay", "version", *NEEDED))
    assert_as_before(before, [])
    assert not list(doctor.REAL_DISK.glob("seatrial-doctor-*"))


def test_missing_tools_are_told_with_what_they_are_for_and_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(keeper.ENVIRONMENT, "PATH", str(tmp_path))
    rows = findings()
    assert rows["tini"] == Finding("tini", False, "not found", "hosts", "apt-get install tini")
    assert rows["ip6tables"] == Finding(
        "ip6tables", False, "not found", "partitions", "apt-get install iptables")
    assert cli.main(["doctor"]) == 255
    assert "not everything works here: " in capsys.readouterr().err


def test_a_plain_user_is_told_to_become_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    root = findings()["root"]
    assert (root.ok, root.found, root.remedy) == (False, "user 1000",
                                                  "run as root or with sudo")


def test_too_little_disk_is_told_with_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 1 << 60)
    disk = findings()["disk"]
    assert not disk.ok
    assert disk.remedy == "at least 1073741824 GiB"


def test_an_unknown_world_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--on", "moon"]) == 254
    assert "'moon' is not" in capsys.readouterr().err
