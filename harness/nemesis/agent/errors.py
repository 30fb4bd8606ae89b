"""What a command of the agent can fail with, beside OSError."""
from __future__ import annotations


class AgentError(Exception):
    """Something that the controller must know, in one line."""


class ToolTimeout(Exception):
    """A tool didn't end in time; no complaint of its own, and so no AgentError."""
