# SPDX-License-Identifier: MIT
"""Reads the journals of cores and wire: lines go to the output, faults become events.

The same fault of the same element is an event the 1st, the 10th, the 100th ... time; all are counted.
"""

from __future__ import annotations

from collections.abc import Callable

from shm.journal import FAULT, NOBODY, Record, dropped, take
from shm.manifest import CurrentManifest
from vre.supervision.tally import Tally

#: Records that are taken from one journal per poll: some milliseconds of the platform's time.
_MOST = 256
#: Different faults that are counted separately; beyond that the oldest is forgotten.
_KINDS = 1024


class Journals:
    """The journals of one platform.

    Parameters
    ----------
    manifest : CurrentManifest
    report : callable
        Told of events.
    show : callable
        Given the lines that elements print, and the name of their router.
    """

    def __init__(
        self, manifest: CurrentManifest, report: Callable[[str], None], show: Callable[[str, str], None]
    ) -> None:
        self._manifest, self._report, self._show = manifest, report, show
        #: (router, element, type of the exception) to the number of packets that raised it.
        self.faults: Tally[tuple[str, str, str]] = Tally(_KINDS)

    def _all(self) -> list[int]:
        manifest = self._manifest.now
        return [*(core.journal for core in manifest.cores), manifest.wire.journal]

    def look(self) -> bool:
        """Pass on the next records of each journal, a bounded number; return whether there were any."""
        any_found = False
        for journal in self._all():
            for record in take(journal, _MOST):
                any_found = True
                if record.kind == FAULT:
                    self._fault(record)
                else:
                    self._show(record.text, self._names(record)[0])
        return any_found

    def _fault(self, record: Record) -> None:
        router, element = self._names(record)
        times = self.faults.note((router, element, record.text.partition(":")[0]))
        if times is not None:
            who = f"router {router}: {element}: " if router else ""
            self._report(f"{who}{record.text}{times}")

    def _names(self, record: Record) -> tuple[str, str]:
        for router in self._manifest.now.routers:
            if router.index == record.router:
                known = 0 <= record.element < len(router.elements)
                return router.name, router.elements[record.element].name if known else "a path"
        return "", ""

    def dropped(self) -> dict[str, int]:
        """Return how many records of each router found no room; the platform's own are under the name ""."""
        indices = {router.name: router.index for router in self._manifest.now.routers} | {"": NOBODY}
        counts = {name: sum(dropped(journal, index) for journal in self._all()) for name, index in indices.items()}
        return {name: count for name, count in counts.items() if count}
