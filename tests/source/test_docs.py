"""What the documents promise exists: links, make targets, commands and their options."""
from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner
from pydantic_core import PydanticUndefined

from seatrial.core.__main__ import parser as node_parser
from seatrial.core.config import Limits, Log, NodeConfig, WalSettings
from seatrial.harness.cli import COMMANDS, cli
from seatrial.harness.nemesis.catalogue import CATALOGUE
from seatrial.harness.sim.environment import Environment
from seatrial.harness.testfile import Checks, Faults, Part, Requirements, Sim, Spec, Topology
from seatrial.harness.topology.section import (
    DomainSection,
    MaxLagSection,
    PoolSection,
    TimersSection,
    TreeParts,
)
from seatrial.workloads.register import RegisterWorkload
from seatrial.workloads.systems.node import NodeSystem

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
PARTS = {"system": Part, "workload": Part, "topology": Topology, "faults": Faults,
         "sim": Sim, "coverage": Requirements, "checks": Checks}
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.fixture(scope="module")
def documents(files: list[Path]) -> list[Path]:
    found = [path for path in files if path.suffix == ".md"]
    assert found
    return found


def options(command: click.Command) -> list[str]:
    """Return the long options of a command, --help aside."""
    return [name for parameter in command.params if isinstance(parameter, click.Option)
            for name in (*parameter.opts, *parameter.secondary_opts)
            if name.startswith("--") and not parameter.hidden]


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def anchor(heading: str) -> str:
    """Return the fragment that a Markdown heading is reached by."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_links_between_documents_resolve(documents: list[Path]) -> None:
    broken = []
    for document in documents:
        text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in LINK.findall(text):
            if "://" in target:
                continue
            name, _, fragment = target.partition("#")
            path = (document.parent / name).resolve() if name else document
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M) \
                if path.suffix == ".md" and path.exists() else []
            if not path.exists() or (fragment and fragment not in map(anchor, headings)):
                broken.append(f"{document.name}: {target}")
    assert broken == []


def test_make_targets_that_documents_name_exist(root: Path, documents: list[Path]) -> None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    assert {"help", "trial", "test", "lint", "bench", "clean"} <= targets
    for document in documents:
        text = document.read_text(encoding="utf-8")
        code = "\n".join(FENCE.findall(text) + re.findall(r"`([^`\n]+)`", text))
        named = set(re.findall(r"\bmake ([a-z]+)\b", code))
        assert named <= targets, document.name


def test_command_lines_in_documents_are_accepted(documents: list[Path]) -> None:
    """Every ``seatrial ...`` line of a code block names a command and options that exist."""
    seen = 0
    for document in documents:
        for block in FENCE.findall(document.read_text(encoding="utf-8")):
            for line in re.findall(r"^(?:[$#] )?(?:sudo )?(?:\S*/)?seatrial ([a-z].*)$",
                                   block.replace("\\\n", " "), re.M):
                words = shlex.split(line, comments=True)
                assert words[0] in COMMANDS, f"{document.name}: {line}"
                known = {*options(command(words[0])), "--help"}
                own = words[:words.index("--")] if "--" in words else words
                used = {word.partition("=")[0] for word in own if word.startswith("--")}
                assert used <= known, f"{document.name}: {line}"
                seen += 1
    assert seen > 5


def test_node_commands_in_documents_are_accepted(documents: list[Path]) -> None:
    """Every ``python -m seatrial.core ...`` line parses; nothing is run."""
    seen = 0
    for document in documents:
        for block in FENCE.findall(document.read_text(encoding="utf-8")):
            for line in re.findall(r"^(?:[$#] )?python -m seatrial\.core (.*)$", block, re.M):
                node_parser().parse_args(shlex.split(line, comments=True))
                seen += 1
    assert seen >= 4


def test_python_in_documents_compiles_and_imports_what_exists(documents: list[Path]) -> None:
    seen = 0
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seatrial"):
                    module = importlib.import_module(str(node.module))
                    for name in node.names:
                        assert hasattr(module, name.name), f"{document.name}: {name.name}"
                        seen += 1
    assert seen > 0


def test_every_fault_is_documented(root: Path) -> None:
    text = (root / "docs/faults.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z]+) \|", text, re.M)
    assert rows == [(name, kind.cls) for name, kind in CATALOGUE.items()]


def as_written(default: Any) -> str:
    """Return a setting's default as a table shows it."""
    if default is msgspec.NODEFAULT:
        return ""
    if default is None:
        return "none"
    if isinstance(default, int) and default >= 10_000:
        for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
            if default % size == 0 and default < 1 << 40:   # what is larger is a time in ns
                return f"{default // size} {unit}"
        return f"{default:,}"
    return str(default)


def test_every_setting_of_the_node_is_documented_with_its_default(root: Path) -> None:
    text = (root / "docs/operations.md").read_text(encoding="utf-8").split("\n## Commands")[0]
    parts = {"log": Log, "limits": Limits, "wal": WalSettings}
    settings = {field.name: field.default for field in msgspec.structs.fields(NodeConfig)
                if field.name not in {*parts, "mutant"}}
    settings |= {f"{part}.{field.name}": field.default for part, kind in parts.items()
                 for field in msgspec.structs.fields(kind)}
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]*?) ?\|", text, re.M))
    assert rows == {name: as_written(default) for name, default in settings.items()}


def test_every_key_of_a_test_file_is_documented(root: Path) -> None:
    text = (root / "docs/commands.md").read_text(encoding="utf-8").split("## The test file")[1]
    names = [name for name in Spec.model_fields if name not in PARTS]
    names += [f"{part}.{name}" for part in ("topology", "faults", "sim", "checks")
              for name in PARTS[part].model_fields]
    for model in (Requirements, NodeSystem.Options, RegisterWorkload.Options):
        names += model.model_fields
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_key_of_a_topology_is_documented_with_its_default(root: Path) -> None:
    text = (root / "docs/topology.md").read_text(encoding="utf-8")
    sections = {"Keys of a domain": DomainSection, "Lag": MaxLagSection,
                "Client pools": PoolSection, "Timers": TimersSection}
    for heading, model in sections.items():
        section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*?) ?\|", section, re.M)
        said = {key: default for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}
        assert list(said) == list(model.model_fields), heading
        for key, field in model.model_fields.items():
            if field.default not in (None, PydanticUndefined):
                assert said[key] == f"{field.default}".removesuffix(".0"), key
    assert [key for key in TreeParts.model_fields if f"`{key}`" not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_is_documented(root: Path, name: str) -> None:
    answer = CliRunner().invoke(cli, [name, "--help"])
    assert answer.exit_code == 0, answer.output
    text = (root / "docs/commands.md").read_text(encoding="utf-8")
    assert f"## seatrial {name}" in text
    section = text.split(f"## seatrial {name}\n")[1].split("\n## ")[0]
    assert [option for option in options(command(name)) if f"`{option}" not in section] == []


def test_the_changelog_is_in_its_usual_form(root: Path) -> None:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    releases = re.findall(r"^## (.*)$", text, re.M)
    assert releases[0] == "[Unreleased]"
    for release in releases[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", release)
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= CHANGES


def test_every_field_of_the_environment_is_documented_with_its_default(root: Path) -> None:
    text = (root / "docs/faults.md").read_text(encoding="utf-8")
    section = text.split("\n## The simulated surroundings\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", section, re.M))
    assert rows == {field.name: as_written(field.default)
                    for field in msgspec.structs.fields(Environment)}


def test_every_exit_code_is_documented(root: Path) -> None:
    from seatrial.checker import Verdict
    text = (root / "docs/commands.md").read_text(encoding="utf-8")
    for verdict in Verdict:
        assert re.search(rf"\| {verdict.label}\b.*\| {verdict.exit_code} \|", text), verdict
    assert re.search(r"\| 254 \|", text)
