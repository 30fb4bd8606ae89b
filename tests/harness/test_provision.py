"""``seatrial provision``: the playbook on hosts of a lab, twice."""
from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from seatrial.harness.cli import main
from seatrial.harness.hosts import LocalWorld, playbook
from seatrial.harness.hosts.inventory import write_lab


def played(world: LocalWorld, tmp_path: Path, *options: str) -> str:
    """What Ansible says of one run on a lab's hosts."""
    wheels, keys = tmp_path / "wheels", tmp_path / "keys"
    for folder in (wheels, keys):
        folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheels / "told-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr(zipfile.ZipInfo("told.py"), "WORD = 'aye'\n")
    for role in ("client", "peer", "admin"):
        (keys / f"{role}.key").write_text("0123456789abcdef")
    done = subprocess.run(
        [sys.executable, "-m", "seatrial.harness", "provision", str(write_lab(world)),
         "--set", f"seatrial_wheels={wheels}", "--set", f"seatrial_keys={keys}", *options],
        check=False, capture_output=True, text=True, env=os.environ | {
            "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.netns
@pytest.mark.cluster
@pytest.mark.slow
def test_a_second_run_of_the_playbook_changes_nothing(world: LocalWorld, tmp_path: Path) -> None:
    first = played(world, tmp_path)
    assert "0123456789abcdef" not in first, "keys are not shown"
    for options in ((), ("--check",)):
        recap = re.findall(r"changed=(\d+) +unreachable=(\d+) +failed=(\d+)",
                           played(world, tmp_path, *options))
        assert recap == [("0", "0", "0")] * 3

    async def look(host: int, *argv: str) -> str:
        return (await world.hosts[host].run(argv)).stdout

    said = asyncio.run(look(0, "env", "PYTHONPATH=/opt/seatrial/node/site", "python3", "-c",
                            "import told; print(told.WORD)"))
    assert said == "aye\n"
    config = asyncio.run(look(1, "cat", "/etc/seatrial-node/node.yml"))
    assert "node: 2\n" in config
    assert config.count(":7400") == 4
    assert asyncio.run(look(2, "stat", "-c", "%a %U %G", "/etc/seatrial-node/peer.key")) \
        == "640 root seatrial\n"


def test_without_ansible_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(playbook, "PROGRAM", "no-such-program")
    path = tmp_path / "hosts.yml"
    path.write_text("all: {hosts: {n1: {ansible_host: 127.0.0.1}}}")
    assert main(["provision", str(path)]) == 255
    assert "is not installed: pip install 'seatrial[ansible]'" in capsys.readouterr().err
    assert main(["provision", str(tmp_path / "none.yml")]) == 254
