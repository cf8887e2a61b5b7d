# SPDX-License-Identifier: MIT
"""The handle of one router of a platform."""

from __future__ import annotations

from collections.abc import Callable

from vre.config.fields import integer
from vre.platform.accounts import Reader, RouterStats
from vre.platform.arguments import held, optional
from vre.platform.commands import Commands


class RouterHandle:
    """The handle of one router; it is valid before the start and after the end, too.

    Parameters
    ----------
    name : str
    reader, commands : callable
        Return the reader of its figures, and the platform's commands. Each raises PlatformError while there is
        none.
    """

    def __init__(self, name: str, reader: Callable[[], Reader], commands: Callable[[], Commands]) -> None:
        self.name = name
        self._reader, self._commands = reader, commands

    def stats(self) -> RouterStats:
        """Return its account; after the end, the one that it ended with. Raises PlatformError if it is gone."""
        return self._reader().router(self.name)

    def sent(self) -> int:
        """Return how many of its packets have left the wire: one field of its account, which is cheap to read."""
        return self._reader().sent(self.name)

    def share(self) -> float:
        """Return its fraction of all routers' CPU time."""
        return self.stats().share

    @held(most=optional(integer(0, 1 << 62)))
    def read(self, handler: str, most: int | None = None) -> str:
        """Return a handler's value, `"element.handler"`, or its first `most` characters.

        Raises HandlerError, and PlatformError if nothing runs.
        """
        return self._commands().read_handler(self.name, str(handler), most)

    def write(self, handler: str, value: str | float) -> None:
        """Write a handler, with a number or a text. Raises HandlerError, and PlatformError if nothing runs."""
        self._commands().write_handler(self.name, str(handler), str(value))
