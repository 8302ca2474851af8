"""Notebooks whose kernel is gone: JupyterLab is given the still of a live picture instead of a widget that nobody feeds any more.

Of several forms of one output JupyterLab always takes the widget, and where its kernel is gone, it shows an error in its place. So
the widget is left out when such a notebook is opened: the file stays as it is, and so do widgets whose kernel lives.
"""

import os
from collections.abc import Mapping
from typing import Any

MARK = "taskscope"
"""The key in an output's metadata under which it says which process feeds its widget."""

WIDGET = "application/vnd.jupyter.widget-view+json"
STILLS = ("image/png", "text/plain")


def this_process() -> dict[str, float]:
    """Return what tells this process from all others of this machine, before and after it."""
    import psutil  # where there is a kernel, there it is

    return {"process": os.getpid(), "since": psutil.Process().create_time()}


def lives(process: Any) -> bool:
    """Tell whether the process lives that `this_process` described."""
    import psutil

    try:
        return bool(abs(psutil.Process(process["process"]).create_time() - process["since"]) < 1)
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def without_dead_widgets(notebook: Mapping[str, Any]) -> None:
    """Leave out, in place, those of our widgets that no process feeds, where there is a still to show instead."""
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            data, mark = output.get("data", {}), output.get("metadata", {}).get(MARK)
            if mark is not None and WIDGET in data and any(kind in data for kind in STILLS) and not lives(mark):
                del data[WIDGET]
