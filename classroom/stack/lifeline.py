"""Tie the life of a child process to its parent's, so that nothing is left behind whatever is killed."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; call it in the child, right after the fork.

    Linux ties this to the *thread* that forked, so only a thread that lives as long as its process may do
    that. Elsewhere nothing happens: the next supervisor clears up what a killed one left.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)
