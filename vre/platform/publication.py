# SPDX-License-Identifier: MIT
"""The manifest of a running platform, written for other processes, and again after each change."""

from __future__ import annotations

from dataclasses import replace

from shm.manifest import CurrentManifest, RouterEntry
from shm.run_directory import RunDirectory
from vre.errors import PlatformError
from vre.memory.wire import Links


class Publication:
    """Writes one platform's manifest into its run directory.

    Attributes
    ----------
    manifest : CurrentManifest
        What was published last.
    path : Path
        The file's path.
    """

    def __init__(self, directory: RunDirectory, links: Links) -> None:
        self._directory, self._links = directory, links
        self.manifest = CurrentManifest(links.manifest())
        self.path = directory.path / "manifest.json"

    def write(self, upcoming: tuple[RouterEntry, ...] = ()) -> None:
        """Write the manifest as it is now; `upcoming` are configurations to get ready for. Raises PlatformError."""
        ns_per_tick = self.manifest.now.ns_per_tick
        self.manifest.now = replace(self._links.manifest(upcoming), ns_per_tick=ns_per_tick)
        try:
            self._directory.write_manifest(self.manifest.now)
        except OSError as error:
            raise PlatformError(f"the manifest cannot be written: {error.strerror}") from None
