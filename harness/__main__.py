"""``python -m seatrial.harness``: the same as the ``seatrial`` command."""
from seatrial.harness.cli import main

raise SystemExit(main())
