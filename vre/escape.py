# SPDX-License-Identifier: MIT
"""Text that somebody else wrote: :mod:`shm.escape`, by the name it has for what a user touches."""

from shm.escape import LONGEST_LINE, escape, escape_lines

__all__ = ["LONGEST_LINE", "escape", "escape_lines"]
