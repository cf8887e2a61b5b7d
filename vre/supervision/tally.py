# SPDX-License-Identifier: MIT
"""Rate limit of events: the 1st, the 10th, the 100th ... of a kind is reported, the others are only counted."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")


class Tally(OrderedDict[K, int], Generic[K]):
    """Counts by kind, the latest last; beyond `most` kinds the oldest is forgotten."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def note(self, kind: K) -> str | None:
        """Count one more; return a suffix for the report, None if it is not to be reported."""
        count = self.pop(kind, 0) + 1
        self[kind] = count
        if len(self) > self._most:
            self.popitem(last=False)
        if count != 10 ** (len(str(count)) - 1):
            return None
        return f" ({count} times by now)" if count > 1 else ""
