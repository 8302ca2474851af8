"""Whether somebody is in front of this notebook, or it is run to be stored."""

import os
import sys

STILLS = "TASKSCOPE_STILLS"
"""The environment variable that asks for stills where a live view would be possible: for notebooks that are to be stored."""


def is_live() -> bool:
    """Tell whether there is a notebook with somebody in front of it."""
    if os.environ.get(STILLS) or "ipykernel" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return hasattr(get_ipython(), "kernel")
