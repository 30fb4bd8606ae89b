"""What is said about the package holds: version, licence, entry points, shipped files."""
from __future__ import annotations

import fnmatch
import importlib
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import Cython.Build
import pytest
import setuptools

FOLDERS = ("core", "checker", "harness", "workloads")


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_one_and_plain(root: Path) -> None:
    version = (root / "VERSION").read_text(encoding="ascii").strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_the_licence_is_the_one_that_is_named(root: Path, project: dict[str, Any]) -> None:
    assert project["license"] == "Apache-2.0"
    text = (root / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0" in text


def test_entry_points_name_classes_that_exist(project: dict[str, Any]) -> None:
    points = [target for group in project["entry-points"].values() for target in group.values()]
    points += project["scripts"].values()
    assert len(points) >= 3
    for point in points:
        module, _, name = point.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), point


def test_every_folder_with_python_in_it_is_a_package(root: Path, files: list[Path]) -> None:
    for path in files:
        relative = path.relative_to(root)
        if relative.parts[0] in FOLDERS and path.suffix in {".py", ".pyx"}:
            assert (path.parent / "__init__.py").exists(), relative


def test_go_is_built_anew_for_the_module_that_holds_it_only(
    root: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: dict[str, list[str]] = {}

    def cythonize(extensions: list[Any], **how: Any) -> list[Any]:
        made.update({one.name: [Path(path).name for path in one.depends] for one in extensions})
        return []

    monkeypatch.setattr(Cython.Build, "cythonize", cythonize)
    monkeypatch.setattr(setuptools, "setup", lambda **how: None)
    monkeypatch.chdir(root)                     # where it goes by itself, for good
    runpy.run_path(str(root / "setup.py"))
    go = {name: found for name, found in made.items()
          if any(path.startswith("go.") or path.endswith(".go") for path in found)}
    assert list(go) == ["seatrial.checker._porcupine"]
    assert {"bridge.go", "model.go", "go.mod", "go.sum"} <= set(go["seatrial.checker._porcupine"])


def test_ansible_is_no_package(root: Path) -> None:
    assert (root / "ansible/site.yml").exists()
    assert not list((root / "ansible").rglob("__init__.py")), "it would shadow the real ansible"


def test_every_file_travels_in_the_source_archive(root: Path, files: list[Path]) -> None:
    kept = (root / "MANIFEST.in").read_text(encoding="utf-8")
    patterns = {line.split()[1]: line.split()[2:] for line in kept.splitlines()
                if line.startswith("recursive-include")}
    for path in files:
        relative = path.relative_to(root)
        if relative.parts[0] in patterns:
            assert any(fnmatch.fnmatch(path.name, pattern)
                       for pattern in patterns[relative.parts[0]]), relative


def test_every_file_of_the_packages_travels_in_the_wheel(root: Path, files: list[Path]) -> None:
    shipped = re.search(r'"": \[(.*?)\]', (root / "setup.py").read_text(encoding="utf-8"), re.S)
    assert shipped
    patterns = re.findall(r'"([^"]+)"', shipped[1])
    sources = ("*.py", "*.pyx", "*.h", "*.go", "go.mod", "go.sum")   # compiled or collected anyway
    for path in files:
        relative = path.relative_to(root)
        if relative.parts[0] in FOLDERS:
            assert any(fnmatch.fnmatch(path.name, pattern) for pattern in (*patterns, *sources)), (
                f"{relative} is not in setup.py's package_data")
