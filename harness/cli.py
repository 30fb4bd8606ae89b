"""The ``seatrial`` command. Each subcommand is a module in ``commands/``, loaded on demand.

Exit codes: those of the verdicts (checker/result.py), 254 for bad arguments (click's own 2
would mean inconclusive here), 255 when the harness itself failed.
"""
from __future__ import annotations

import importlib
import sys

import click

from .errors import SeatrialError

COMMANDS = ("run", "check", "generate", "shrink", "replay", "mutants", "explore", "up", "down",
            "ssh", "doctor", "plan", "heal", "domains", "provision")


class Lazy(click.Group):
    """A group whose commands are imported only when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f".commands.{name}", __package__).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seatrial")
def cli() -> None:
    """Seatrial: fault campaigns on clusters, judged by linearizability checkers."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        code = cli.main(args=argv, prog_name="seatrial", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return 255
    except click.ClickException as error:
        click.echo(f"seatrial: {error.format_message()}", err=True)
        return 254
    except SeatrialError as error:
        click.echo(f"seatrial: {error}", err=True)
        return error.exit_code
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
