# SPDX-License-Identifier: MIT
"""The manifest of a running platform: written for other processes to read, and anew when something changes."""

from __future__ import annotations

import os
from typing import Any

from shm.run_directory import RunDirectory
from vre.config.model import Model
from vre.errors import PlatformError
from vre.memory.layout import Builder
from vre.memory.wire import Links
from vre.supervision.cpus import Plan


class Publication:
    """Writes one platform's manifest into its run directory.

    Attributes
    ----------
    manifest : dict
        What was published last. It stays the same object, which readers hold on to, with the same keys.
    path : Path
        The file.
    """

    def __init__(self, model: Model, plan: Plan, directory: RunDirectory, builder: Builder, links: Links) -> None:
        self._model, self._plan, self._directory = model, plan, directory
        self._builder, self._links = builder, links
        self.manifest: dict[str, Any] = {}
        self.path = directory.path / "manifest.json"

    def write(self, upcoming: list[dict[str, Any]] | None = None) -> None:
        """Write the manifest as it is now; `upcoming` are configurations to get ready for. Raises PlatformError."""
        routers = self._model.routers.values()
        fresh = {
            "upcoming": upcoming or [],
            "inside": [router.inner.shape.as_dict() | {"name": router.name} for router in routers if router.inner],
            **self._builder.manifest(),
            "wire": self._links.manifest(),
            "pid": os.getpid(),
            "dilated": self._plan.dilated,
            "poll": self._model.idle == "poll",
            "turn_ns": self._model.turn_ns,
            "sample": self._model.sample,
            "memory": self._model.memory,
        }
        self.manifest.update(fresh)
        try:
            self._directory.write_manifest(self.manifest)
        except OSError as error:
            raise PlatformError(f"the manifest cannot be written: {error.strerror}") from None
