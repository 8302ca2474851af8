"""How a test talks to its kernels: through files, because two kernels that start at the same moment may be given the same TCP port."""

import os
from pathlib import Path
from uuid import uuid4

import nbval.kernel
from jupyter_client.manager import KernelManager
from traitlets.config import Config


def through_files() -> dict[str, str]:
    """Return the settings of one kernel's manager; the files go with the folder of this test run."""
    return {"transport": "ipc", "ip": str(Path(os.environ["CLASSROOM_STATE"]).parent / f"kernel-{uuid4().hex[:12]}")}


def of_nbclient() -> Config:
    """Return them as nbclient takes them."""
    return Config(KernelManager=through_files())


def of_nbval() -> None:
    """Have nbval, which has no setting for it, start its kernels so."""
    nbval.kernel.KernelManager = lambda **options: KernelManager(**through_files(), **options)
