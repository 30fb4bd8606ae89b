"""Arguments reach a program as they are, whatever is in them."""
from __future__ import annotations

import asyncio
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seatrial.harness.control.quoting import MAX_BYTES, command_line, shorten
from seatrial.harness.hosts import LocalWorld

ARGUMENT = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
    st.text(st.sampled_from("'\"\\$`!*?;&|<>(){}[]~#%^ \t\n\r-=é"), max_size=30),
    st.sampled_from(["$(touch /tmp/x)", "`id`", "; rm -rf /", "--", "-n", "a'b\"c", "\\", "\n"]),
)
ARGUMENTS = st.lists(ARGUMENT, min_size=1, max_size=6)
PRINT = ["python3", "-c", "import os, sys; os.write(1, '\\0'.join(sys.argv[1:]).encode("
         "'utf-8', 'surrogateescape'))"]


@given(ARGUMENTS)
def test_a_posix_shell_reads_back_what_was_quoted(arguments: list[str]) -> None:
    line = command_line(["printf", "%s\\0", *arguments])
    shell = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert shell.stdout.decode().split("\0")[:-1] == arguments


@pytest.mark.cluster
@settings(max_examples=25)
@given(ARGUMENTS)
def test_a_host_receives_the_arguments_as_they_are(
    world: LocalWorld, arguments: list[str],
) -> None:
    result = asyncio.run(world.hosts[0].run([*PRINT, *arguments]))
    assert result.stdout.split("\0") == arguments
    assert (result.code, result.stderr) == (0, "")


def test_what_no_quoting_could_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="'a': an argument holds a NUL"):
        command_line(["a", "b\0c"])
    with pytest.raises(ValueError, match="an empty command"):
        command_line([])
    with pytest.raises(ValueError, match=rf"bytes of arguments, at most {MAX_BYTES}"):
        command_line(["echo", "x" * MAX_BYTES])
    assert len(command_line(["echo", "x" * (MAX_BYTES - len("echo "))])) == MAX_BYTES


def test_bytes_that_are_no_text_pass() -> None:
    assert command_line(["a", "\udcff"]) == b"a '\xff'"


def test_a_long_command_is_cut_in_messages() -> None:
    assert shorten(["echo", "a b"]) == "echo 'a b'"
    assert shorten(["sh", "-c", "a\nb"]) == "sh -c 'a\\nb'"
    assert len(shorten(["x" * 500])) == 120
