# SPDX-License-Identifier: MIT
"""Killing a process at any line of its kernels: their Python twins are cut off there."""

from __future__ import annotations

import sys

FOLDERS = ("/shm/", "/workers/", "vre_path", "path_")


class Killed(BaseException):
    """Stands for SIGKILL: nothing in a kernel may catch it."""


def cut_off(act, line, function=None):
    """Call `act`, which ends at the `line`th line executed (of one function); return whether it was cut off."""
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if not any(f in frame.f_code.co_filename for f in FOLDERS):
            return None
        if event == "line" and function in (None, frame.f_code.co_name):
            left -= 1
            if left == 0:
                raise Killed
        return trace

    before = sys.gettrace()  # of coverage
    sys.settrace(trace)
    try:
        act()
    except Killed:
        return True
    finally:
        sys.settrace(before)
    return False
