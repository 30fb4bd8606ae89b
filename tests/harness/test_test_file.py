"""The test file: what is accepted, and the one line that says why something is not."""
from __future__ import annotations

from pathlib import Path

import pytest

from seatrial.harness.errors import BadInput
from seatrial.harness.testfile import Spec, load, validated
from seatrial.harness.yamlfile import Document

SMALL = "name: small\nworkload: {name: register}\n"


def spec(text: str) -> Spec:
    return validated(Document.parse("t.yml", text))[1]


def complaint(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        spec(text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_needs_only_a_name_and_a_workload() -> None:
    small = spec(SMALL)
    assert (small.system.name, small.topology.nodes, small.time_limit) == ("node", 5, 60.0)
    assert small.faults.names == []


def test_whole_numbers_are_accepted_where_numbers_are_expected() -> None:
    assert spec(SMALL + "time_limit: 5\n").time_limit == 5.0


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ("time_limt: 5", "t.yml:3: time_limt: unknown key; did you mean 'time_limit'? (known: "),
        ("faults: {laness: 2}", "t.yml:3: faults.laness: unknown key; did you mean 'lanes'?"),
        ("clients: many", "t.yml:3: clients: expected a whole number, got 'many'"),
        ("clients: 2.5", "t.yml:3: clients: expected a whole number, got 2.5"),
        ("clients: true", "t.yml:3: clients: expected a whole number, got True"),
        ("clients: 0", "t.yml:3: clients: expected at least 1, got 0"),
        ("topology: {nodes: 99}", "t.yml:3: topology.nodes: expected at most 9, got 99"),
        ("topology: 5", "t.yml:3: topology: "),
        ("rate: .nan", "t.yml:3: rate: "),
        ("rate: .inf", "t.yml:3: rate: "),
        ("time_limit: '60'", "t.yml:3: time_limit: expected a number, got '60'"),
        ("checks: {engine: bth}", "t.yml:3: checks.engine: expected 'auto', "),
        ("checks: {logs: {patterns: ['(']}}", "t.yml:3: checks.logs.patterns: '(' is not a "),
        ("checks: {logs: {ignore: ['x*']}}", "t.yml:3: checks.logs.ignore: 'x*' is in every line"),
        ("checks: {availability: {min_ok: 2}}", "t.yml:3: checks.availability.min_ok: expected"),
        ("checks: {availability: {max_gap: 0}}", "t.yml:3: checks.availability.max_gap: expected"),
        ("faults: {names: kill}", "t.yml:3: faults.names: expected a list, got 'kill'"),
        ("faults: {names: [kill, 7]}", "t.yml:3: faults.names.1: expected text, got 7"),
        ("seed: -1", "t.yml:3: seed: expected at least 0, got -1"),
        ("coverage: {min_fault_names: 2}", "t.yml: coverage.min_fault_names is 2, but"),
        ("name: again", "t.yml:3: key 'name' is given twice"),
        ("on: local", "t.yml:3: expected a name as key, got 'on' (quote it)"),
        ("clients: [1", "t.yml:4:1: malformed YAML: "),
        ("\tclients: 1", "t.yml:3:1: malformed YAML: "),
    ],
)
def test_a_wrong_key_is_named_with_its_line_and_what_was_expected(extra: str, line: str) -> None:
    assert complaint(f"{SMALL}{extra}\n").startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "t.yml: expected a mapping of keys to values, got nothing"),
        ("- a\n", "t.yml: expected a mapping of keys to values, got list"),
        ("name: x\n", "t.yml: workload: missing; this key is required"),
        ("name: ../../etc\nworkload: {name: register}\n", "t.yml:1: name: expected text that"),
        ("name: \x00\n", "t.yml: malformed YAML: "),
        ("a: 2026-99-99\n", "t.yml: malformed YAML: month must be in 1..12"),
        ("a: &a [*a]\nname: x\n", "t.yml:"),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused_in_one_line(text: str, line: str) -> None:
    assert complaint(text).startswith(line)


def test_nesting_without_end_is_refused() -> None:
    assert complaint("[" * 20_000).startswith("t.yml: malformed YAML")


def test_an_alias_bomb_is_refused_in_no_time() -> None:
    layers = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30))
    bomb = complaint(f"l0: &l0 [x]\n{layers}\nname: *l29\n")
    assert bomb == "t.yml:31: name: expected text, got a list"


def test_an_option_of_the_command_line_replaces_a_key_and_is_named_when_wrong() -> None:
    document = Document.parse("t.yml", SMALL)
    document.override(("time_limit",), 7.0, "--time-limit")
    document.override(("system", "options", "mutant"), "x", "--mutant")
    document.override(("system", "name"), "node", "--system")
    _, changed = validated(document)
    assert changed.time_limit == 7.0
    assert changed.system.options == {"mutant": "x"}
    document.override(("time_limit",), -1.0, "--time-limit")
    with pytest.raises(BadInput, match=r"^--time-limit: expected more than 0, got -1.0$"):
        validated(document)


@pytest.mark.parametrize("made", ["missing", "folder", "latin1", "huge"])
def test_a_file_that_can_not_be_read_is_bad_input(tmp_path: Path, made: str) -> None:
    path = tmp_path / "t.yml"
    if made == "folder":
        path.mkdir()
    elif made == "latin1":
        path.write_bytes(b"name: caf\xe9\n")
    elif made == "huge":
        path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(BadInput, match=r"t\.yml: "):
        load(path)
