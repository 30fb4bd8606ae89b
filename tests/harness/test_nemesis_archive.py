"""The agent as it is on a host: one archive, run by an isolated Python."""
from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seatrial.harness.nemesis import agent, archive
from seatrial.harness.nemesis.agent.commands import COMMANDS

FOLDER = Path(agent.__file__).parent


def ask(
    place: Path, command: str, request: object, around: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    path = place / archive.NAME
    path.write_bytes(archive.ARCHIVE)
    return subprocess.run([*around, sys.executable, "-I", "-S", str(path), command], cwd="/",
                          text=True, input=json.dumps(request), capture_output=True, check=False)


def test_the_same_sources_give_the_same_archive_whenever_they_were_written(tmp_path: Path) -> None:
    copy = tmp_path / "agent"
    copy.mkdir()
    for path in sorted(FOLDER.glob("*.py"), reverse=True):
        shutil.copyfile(path, copy / path.name)
        os.utime(copy / path.name, (10**9, 10**9))
    assert archive.pack(copy) == archive.ARCHIVE
    (copy / "cuts.py").write_text("")
    assert archive.pack(copy) != archive.ARCHIVE


def test_the_archive_answers_without_anything_of_ours_beside_it(tmp_path: Path) -> None:
    done = ask(tmp_path, "clocks", {})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["wall"] > 10**18


def test_what_is_wrong_is_one_line_on_stderr_and_the_state_is_where_the_archive_lies(
    tmp_path: Path,
) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "run.json").write_text("{}")
    done = ask(tmp_path, "pause", {"id": "0-0", "name": "pause", "pids": []})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("nemesis agent: the dead-man process doesn't run here (its deadline "
                           "passed, or it was killed); no fault starts without it\n")
    assert {path.name for path in tmp_path.iterdir()} == {
        archive.NAME, "journal", "run.json", "resident.lock", "lock"}


@pytest.mark.netns
def test_a_host_is_ready_for_faults_when_install_returns(tmp_path: Path) -> None:
    apart = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    view = Path("/run") / f"{tmp_path.name}.view"
    view.write_text("of a run that was killed")
    try:
        done = ask(tmp_path, "install", {"run": "r", "addresses": ["127.0.0.1"], "controllers": [],
                                         "deadline_s": 60, "clocks": False, "disk": []}, apart)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(view.read_text())["number"] >= 1
    finally:
        done = ask(tmp_path, "remove", {}, apart)
    assert (done.returncode, done.stderr) == (0, "")
    assert not view.exists()


def test_every_command_is_a_function_of_its_module() -> None:
    for command, module in COMMANDS.items():
        function = getattr(importlib.import_module(f"{agent.__name__}.{module}"), command)
        assert list(inspect.signature(function).parameters) in (["request"], ["_request"])


def test_the_resident_has_all_that_it_heals_with_when_it_starts() -> None:
    """The archive may be gone by then."""
    def imports(tree: ast.AST) -> set[str]:
        return {name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level
                for name in ([node.module] if node.module else [a.name for a in node.names])}

    late = {name for function in ast.walk(ast.parse((FOLDER / "undoing.py").read_text()))
            if isinstance(function, ast.FunctionDef) for name in imports(function)}
    assert late
    assert late <= imports(ast.parse((FOLDER / "resident.py").read_text()))
