"""Every module says why it exists, every public class and function what it does."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("core", "checker", "harness", "workloads", "scripts", "bench")
CYTHON_DEF = re.compile(r"^( {4})?(?:cpdef[^(=:]*?|def) ?([a-z]\w*)\s*\(.*?\)(?: *->[^:]*)?"
                        r"(?: *(?:noexcept|except\S*))*:[^\n]*\n\s*(?P<first>\S{1,3})", re.M | re.S)


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Yield public names without a docstring.

    A method of a class that has bases may say nothing: what it does is said where it was
    declared first. The methods of the small protocols likewise (protocols.py).
    """
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef) and not node.bases:
            for item in node.body:
                if (isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                        and not item.name.startswith("_") and ast.get_docstring(item) is None):
                    yield f"{node.name}.{item.name}"


def declared_in_protocols(root: Path) -> set[str]:
    """Return the method names that protocols.py documents."""
    tree = ast.parse((root / "harness/protocols.py").read_text(encoding="utf-8"))
    return {item.name for node in tree.body if isinstance(node, ast.ClassDef)
            for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_python_sources_are_documented(root: Path, files: list[Path]) -> None:
    known = declared_in_protocols(root)
    missing = []
    for path in files:
        relative = path.relative_to(root)
        if relative.parts[0] not in FOLDERS or path.suffix != ".py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and ast.get_docstring(tree) is None:
            missing.append(str(relative))
        missing += [f"{relative}: {name}" for name in undocumented(tree)
                    if not ("." in name and name.rpartition(".")[2] in known)]
    assert missing == []


def test_cython_sources_are_documented(root: Path, files: list[Path]) -> None:
    missing = []
    for path in files:
        if path.suffix == ".pyx":
            text = path.read_text(encoding="utf-8")
            if not re.match(r'(?:\s*#[^\n]*\n|\s)*"""', text):
                missing.append(str(path.relative_to(root)))
            missing += [f"{path.relative_to(root)}: {match[2]}" for match
                        in CYTHON_DEF.finditer(text) if match["first"] not in ('"""', 'r""')]
    assert missing == []


@pytest.mark.parametrize("source", [
    "def f():\n    return 1\n", "class C:\n    pass\n",
    'class C:\n    """Doc."""\n    async def m(self):\n        pass\n',
])
def test_a_missing_docstring_is_seen(source: str) -> None:
    assert list(undocumented(ast.parse(source)))
