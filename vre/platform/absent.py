# SPDX-License-Identifier: MIT
"""What stands where a platform's parts are, while there are none: whatever is asked of it is refused with the reason.

The parts of a platform read and write shared memory, which is not mapped before the start nor after the end.
"""

from __future__ import annotations

from typing import Any, NoReturn

from vre.errors import PlatformError


class Absent:
    """A part that is not there. Any use of it raises PlatformError."""

    def __init__(self, why: str) -> None:
        self.__dict__["why"] = why

    def _refuse(self) -> NoReturn:
        raise PlatformError(self.__dict__["why"])

    def __getattr__(self, name: str) -> Any:
        # What Python itself looks for, as when it copies or shows an object, is no use of the part.
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse()

    def __getitem__(self, key: Any) -> Any:
        self._refuse()


def not_started() -> Any:
    """Return what stands for the parts of a platform before its start."""
    return Absent("the platform has not been started: start() or run() does that")


def ended() -> Any:
    """Return what stands for the parts of a platform after its end."""
    return Absent("the platform has ended; what can still be read are the figures that it ended with")
