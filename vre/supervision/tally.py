# SPDX-License-Identifier: MIT
"""How often each kind of thing has happened: the 1st, the 10th, the 100th ... time is told, the others are counted."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")


class Tally(OrderedDict[K, int], Generic[K]):
    """A kind to how often it happened, the latest last; beyond `most` kinds the oldest is forgotten."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def note(self, kind: K) -> str | None:
        """Count one more; return what to add where it is told, None if it is not to be told."""
        count = self.pop(kind, 0) + 1
        self[kind] = count
        if len(self) > self._most:
            self.popitem(last=False)
        if count != 10 ** (len(str(count)) - 1):
            return None
        return f" ({count} times by now)" if count > 1 else ""
