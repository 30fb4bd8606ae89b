"""Imports run downwards only, ``cimport`` included (import-linter sees neither .pyx nor .pxd).

A bug in the node must not hide itself in its judge, so ``core`` and ``checker`` never meet;
``workloads`` uses our own node as any user would, through its client; only the simulated
world may drive the node's state machines directly.
"""
from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDERS = ("core", "checker", "harness", "workloads")
# folder -> dotted prefixes below ``seatrial`` that it may import, besides its own
ALLOWED = {
    "core": (),
    "checker": (),
    "harness": ("checker",),
    "harness/sim": ("checker", "core"),
    "workloads": ("harness", "checker", "core.client", "core.errors"),
}
FROM = re.compile(r"^[ \t]*from[ \t]+([.\w]+)[ \t]+c?import[ \t]+([^#\n]+)", re.M)
PLAIN = re.compile(r"^[ \t]*c?import[ \t]+([\w., \t]+)", re.M)


def imported(text: str, module: str, *, package: bool = False) -> set[str]:
    """Return the absolute names that a module's source imports or cimports.

    ``from a import b`` counts as ``a.b``: whether b is a module or a name in one is not
    knowable from text, and a rule that allows ``a`` allows ``a.b`` too.
    """
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"\(([^()]*)\)", lambda m: re.sub(r"#[^\n]*|\n", " ", m[1]), text)
    found = set()
    for base, names in FROM.findall(text):
        dots = len(base) - len(base.lstrip("."))
        if dots:
            parts = module.split(".")
            parts = parts[:len(parts) - dots + (1 if package else 0)]
            base = ".".join([*parts, *filter(None, [base[dots:]])])
        found |= {f"{base}.{name.split()[0]}" for name in names.split(",") if name.split()}
    for names in PLAIN.findall(text):
        found |= {name.split()[0] for name in names.split(",") if name.split()}
    return found


def forbidden(path: Path, text: str) -> set[str]:
    """Return what the file at ``path`` (relative to the top folder) must not import."""
    package = path.stem == "__init__"
    parts = path.parent.parts if package else path.with_suffix("").parts
    rule = next(ALLOWED[name] for name in ("/".join(path.parts[:2]), path.parts[0])
                if name in ALLOWED)
    own = (path.parts[0], *rule)
    wrong = set()
    for name in imported(text, ".".join(("seatrial", *parts)), package=package):
        head, _, rest = name.partition(".")
        if head == "seatrial" and not any(rest == to or rest.startswith(to + ".") for to in own):
            wrong.add(name)
    return wrong


def test_every_import_and_cimport_goes_downwards(root: Path, files: list[Path]) -> None:
    checked, wrong = 0, {}
    for path in files:
        relative = path.relative_to(root)
        if relative.parts[0] in FOLDERS and path.suffix in (".py", ".pyi", ".pyx", ".pxd"):
            checked += 1
            if names := forbidden(relative, path.read_text(encoding="utf-8")):
                wrong[str(relative)] = sorted(names)
    assert checked > 20, "the files were not found"
    assert not wrong


@pytest.mark.parametrize(("path", "line"), [
    ("core/wal.pyx", "from seatrial.checker.search cimport State"),
    ("checker/search.pyx", "cimport seatrial.core.buffer as buffer"),
    ("checker/search.pxd", "from ..core.buffer cimport Buffer"),
    ("checker/__init__.py", "from ..core import crc"),
    ("checker/models/__init__.py", "from ...core import crc"),
    ("harness/run.py", "    from seatrial.workloads import register"),
    ("harness/run.py", "from seatrial import (\n    checker,  # fine\n    core,\n)"),
    ("workloads/register.py", "from seatrial.core import raft"),
    ("workloads/register.py", "import json, seatrial.core.kv"),
    ("workloads/register.py", "from seatrial.core.client_of_another import Client"),
])
def test_an_upward_or_sideways_import_is_seen(path: str, line: str) -> None:
    assert forbidden(Path(path), line)


@pytest.mark.parametrize(("path", "line"), [
    ("core/wal.pyx", "from .buffer cimport Buffer\nfrom libc.stdint cimport uint64_t"),
    ("harness/run.py", "from seatrial.checker import CheckResult"),
    ("harness/commands/check.py", "from ..errors import BadInput\nfrom ...checker import result"),
    ("harness/sim/world.py", "from seatrial.core.raft import Raft"),
    ("workloads/register.py", "from seatrial.core.client import Client"),
    ("workloads/register.py", "from seatrial.core import client, errors"),
])
def test_a_downward_import_is_accepted(path: str, line: str) -> None:
    assert not forbidden(Path(path), line)
