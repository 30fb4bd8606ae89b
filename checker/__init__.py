"""Verdicts from histories. Imports nothing of the node: a judge must not share its bugs."""
from .result import CheckResult, Verdict

__all__ = ["CheckResult", "Verdict"]
