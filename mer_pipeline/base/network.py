"""Give up the network, in a process that reads what may be hostile. No other library is loaded for it."""

from __future__ import annotations

import ctypes
import os

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def leave_network() -> None:
    """Move this process into an empty network namespace, if the system lets it; the process must have one thread.

    Containers and some systems let only root do that, or nobody. Then nothing happens.
    """
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    unshare = getattr(ctypes.CDLL(None), "unshare", None)  # Linux only
    if unshare is not None:
        unshare(flags)
