"""Verdicts from histories. Imports nothing of the node: a judge must not share its bugs."""
from .errors import BadHistory, CheckerError, EngineAbsent
from .history import History
from .linearizable import check_linearizable
from .models import MODELS, UNKNOWN, Model, OneOf, UserModel
from .result import CheckResult, Verdict
from .stats import check_stats, check_unhandled_exceptions

__all__ = [
    "MODELS", "UNKNOWN", "BadHistory", "CheckResult", "CheckerError", "EngineAbsent", "History",
    "Model", "OneOf", "UserModel", "Verdict", "check_linearizable", "check_stats",
    "check_unhandled_exceptions",
]
