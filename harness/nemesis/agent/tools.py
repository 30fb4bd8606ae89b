"""Other programs, run by the agent."""
from __future__ import annotations

import subprocess

from .errors import AgentError, ToolTimeout


def command(argv: list[str], stdin: str | None = None, timeout_s: float = 30.0,
            good: tuple[int, ...] = (0,)) -> str:
    """Run a tool; return its output or raise with its complaint."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ToolTimeout(str(error)) from error
    if done.returncode not in good:
        complaint = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise AgentError(f"{argv[0]}: exit code {done.returncode}: {complaint}")
    return done.stdout
