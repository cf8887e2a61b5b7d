# SPDX-License-Identifier: MIT
"""One router of a running platform, as Python code holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vre.errors import PlatformError

if TYPE_CHECKING:
    from vre.platform.accounts import RouterStats
    from vre.platform.platform import Platform


class RouterHandle:
    """One router of a platform."""

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform = platform
        self.name = name

    def stats(self) -> RouterStats:
        """Return its account, see :class:`vre.platform.accounts.RouterStats`; after the end, the one that it ended
        with."""
        for stats in self._platform.reader.routers():
            if stats.name == self.name:
                return stats
        raise PlatformError(f"there is no router '{self.name}' any more")

    def sent(self) -> int:
        """Return how many of its packets have left the wire: one field of its account, at little cost."""
        return self._platform.reader.sent(self.name)

    def share(self) -> float:
        """Return the part of all routers' CPU time that it has had."""
        return self.stats().share

    def read(self, handler: str) -> str:
        """Return a handler's value: `"element.handler"`. Raises HandlerError, and PlatformError where nothing runs."""
        box = self._platform
        return box.boundary.call("read", f"router {self.name}", box._handlers.read, self.name, str(handler))

    def write(self, handler: str, value: str | float) -> None:
        """Write a handler, with a number or a text. Raises HandlerError, and PlatformError where nothing runs."""
        box = self._platform
        box.boundary.call("write", f"router {self.name}", box._handlers.write, self.name, str(handler), str(value))
