"""`python -m kpnode`, the same as `kpnode`."""

from kpnode.cli import app

app()
