"""``python -m seatrial.harness.report FOLDER``: make a run's report again."""
from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import SeatrialError
from ..store import RunFolder
from . import render_report


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Make the report of the run in FOLDER again, from what the folder holds."""
    click.echo(render_report(RunFolder(folder.resolve())))


def main() -> int:
    """Run the command and return its exit code."""
    try:
        command.main(prog_name="python -m seatrial.harness.report", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"seatrial: {error.format_message()}", err=True)
        return 254
    except SeatrialError as error:
        click.echo(f"seatrial: {error}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
