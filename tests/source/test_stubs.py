"""A .pyi says what its .pyx offers: mypy believes it, so nothing may be missing or invented.

A stub may leave out a whole class or function that only its own module uses.
"""
from __future__ import annotations

import ast
import re
from pathlib import Path

PUBLIC = re.compile(r"^( *)(?:cpdef[^(=:]*?|def|async def) ?(\w+)\s*\(|^cdef class (\w+)|"
                    r"^class (\w+)", re.M)


def offered(pyx: str) -> set[str]:
    """Return what Python can call in a .pyx: functions, classes, ``Class.method``."""
    names, owner = set(), ""
    for indent, function, *classes in PUBLIC.findall(pyx):
        if not function:
            owner = "".join(classes)
            name = owner
        elif len(indent) == 4 and owner:
            name = f"{owner}.{function}"
        elif not indent:
            owner, name = "", function
        else:
            continue   # a function in a function
        if not any(part.startswith("_") for part in name.split(".")):
            names.add(name)
    # ``globals()["public"] = chosen``: one of several functions under one name
    return names - set(re.findall(r'^globals\(\)\["\w+"\] = (\w+)', pyx, re.M))


def declared(pyi: str) -> set[str]:
    """Return the functions, classes, methods and attributes that a stub declares."""
    names = set()
    for node in ast.parse(pyi).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                    names.add(f"{node.name}.{item.name}")
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    names.add(f"{node.name}.{item.target.id}")
    return {name for name in names if not any(part.startswith("_") for part in name.split("."))}


def importers(module: str, files: list[Path]) -> list[str]:
    """Return the Python files that import a module of this name."""
    line = re.compile(rf"^\s*from \S*\.{module} import |^\s*from \.+ import .*\b{module}\b", re.M)
    return [path.name for path in files
            if path.suffix == ".py" and line.search(path.read_text(encoding="utf-8"))]


def test_every_stub_declares_what_its_module_offers(files: list[Path]) -> None:
    modules = [path for path in files if path.suffix == ".pyx"]
    assert modules
    for pyx in modules:
        stub = pyx.with_suffix(".pyi")
        if not stub.exists():   # a module of kernels, for other .pyx files only
            assert not importers(pyx.stem, files), f"{pyx.name} has no .pyi: mypy can't see it"
            continue
        text = pyx.read_text(encoding="utf-8")
        names = offered(text)
        if pyx.with_suffix(".pxd").exists():
            text += pyx.with_suffix(".pxd").read_text(encoding="utf-8")
        listed = declared(stub.read_text(encoding="utf-8"))
        lacking = [name for name in names - listed if name.partition(".")[0] in listed]
        assert sorted(lacking) == [], f"{stub.name} lacks them"
        # attributes come from ``cdef public`` lines here or in the .pxd
        invented = {name for name in listed - names if not re.search(
            rf"\b{name.rpartition('.')[2]}\b", text)}
        assert sorted(invented) == [], f"{pyx.name} has no such thing"
