"""What must not be in any file: a registry's host name, another project's folder, leftovers."""
from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__)
TEXT = {".py", ".pyx", ".pxd", ".pyi", ".h", ".go", ".md", ".toml", ".yml", ".in", ".j2", ".sh",
        ".css", ".js", ".svg", ""}
# pip, apt and go are used as they are configured on the machine
REGISTRY = re.compile(r"pypi\.(?:org|python\.org)|pythonhosted\.org|proxy\.golang\.org|"
                      r"sum\.golang\.org|(?:deb|security|snapshot)\.debian\.org", re.I)
LEFTOVER = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|<<<<<<< |>>>>>>> ")


def found(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    """Return ``file:line`` wherever a text file holds the pattern."""
    return [f"{path}:{number}" for path in files
            if path != HERE and path.suffix in TEXT and path.name != "LICENSE"
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if pattern.search(line)]


def test_no_file_names_a_registry(files: list[Path]) -> None:
    assert found(REGISTRY, files) == []


def test_no_file_holds_a_note_to_ourselves_or_a_conflict(files: list[Path]) -> None:
    assert found(LEFTOVER, files) == []


def test_only_tests_look_beside_the_project(root: Path, files: list[Path]) -> None:
    """A folder of recorded histories may lie there; what it is for is judged by tests alone."""
    others = [path for path in files if path.relative_to(root).parts[0] != "tests"]
    assert found(re.compile(r"\.\./shared"), others) == []


def test_no_process_is_ended_by_name(files: list[Path]) -> None:
    """Another process of the same name may be somebody else's."""
    assert found(re.compile(r"\b(?:pkill|killall)\b"), files) == []
