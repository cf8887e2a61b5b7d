# SPDX-License-Identifier: MIT
"""A software virtual router platform: one box acts as many routers, each with its promised share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vre.model import Cable, Capture, Domu, Generator, Replay, Sink
    from vre.platform import Platform

__all__ = ["Cable", "Capture", "Domu", "Generator", "Platform", "Replay", "Sink"]


def __getattr__(name: str) -> Any:
    # Imported when first used: the command line checks a configuration without them.
    if name == "Platform":
        from vre.platform import Platform

        return Platform
    if name in __all__:
        from vre import model

        return getattr(model, name)
    raise AttributeError(f"module 'vre' has no attribute '{name}'")
