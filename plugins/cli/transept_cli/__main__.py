"""`python -m transept_cli`."""

from .main import run

run()
