"""Every module says why it exists, every public class and function what it does."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

FOLDERS = ("core", "checker", "harness", "workloads", "scripts", "bench", "examples")
CYTHON_DEF = re.compile(r"^( {4})?(?:cpdef[^(=:]*?|def) ?([a-z]\w*)\s*\(.*?\)(?: *->[^:]*)?"
                        r"(?: *(?:noexcept|nogil|except(?: -?\d+)?))*:[^\n]*\n\s*"
                        r"(?P<first>\S{1,3})",
                        re.M | re.S)


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Yield public names without a docstring.

    A method of a class that has bases may say nothing: what it does is said where it was
    declared first. A function may be explained by a row of the module docstring's table.
    """
    table = re.findall(r"^\| (\w+) +\|", ast.get_docstring(tree) or "", re.M)
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") or node.name in table:
            continue
        if ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef) and not node.bases:
            yield from (f"{node.name}.{item.name}" for item in methods(node)
                        if not item.name.startswith("_") and ast.get_docstring(item) is None)


def methods(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return a class's methods."""
    return [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]


def promised(trees: Iterable[ast.Module]) -> set[str]:
    """Return the methods that some Protocol declares and explains; who keeps it need not again."""
    return {item.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)
            if any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
            for item in methods(node) if ast.get_docstring(item) is not None}


def test_python_sources_are_documented(root: Path, files: list[Path]) -> None:
    trees = {path.relative_to(root): ast.parse(path.read_text(encoding="utf-8")) for path in files
             if path.suffix == ".py" and path.relative_to(root).parts[0] in FOLDERS}
    known = promised(trees.values())
    missing = [str(path) for path, tree in trees.items()
               if tree.body and ast.get_docstring(tree) is None]
    missing += [f"{path}: {name}" for path, tree in trees.items() for name in undocumented(tree)
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
