"""`python -m mailkeep` is the command `mailkeep`."""

from mailkeep.cli.main import entry

entry()
