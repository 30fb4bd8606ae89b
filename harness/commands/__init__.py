"""The subcommands of ``seatrial``: one module each, loaded when it is named (cli.py)."""
