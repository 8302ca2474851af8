"""`python -m classroom`: the front door, which even a Python that is too old can read."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "The course needs Python 3.11 or newer, this is " + sys.version.split()[0] + ".\n  next: make setup PYTHON=python3.12"
    )

from classroom.cli import main

main()
