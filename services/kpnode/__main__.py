"""`python -m kpnode`: the same as the command `kpnode`."""

from kpnode.cli import app

app()
