"""`python -m classroom`: the front door, which even a Python that is too old, or has no packages, can read."""

import sys

if sys.version_info < (3, 11):
    sys.exit("The course needs Python 3.11 or newer, this is " + sys.version.split()[0] + ".\n  next: make setup PYTHON=python3.12")

try:
    from classroom.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"This Python ({sys.executable}) has no {error.name}.\n  next: make setup, then .venv/bin/python -m classroom doctor")

main()
