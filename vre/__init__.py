# SPDX-License-Identifier: MIT
"""A software virtual router platform: one box acts as many routers, each with its promised share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vre.errors import ConfigError, HandlerError, PlatformError, VreError
    from vre.handle import RouterHandle
    from vre.model import Cable, Capture, Domu, Generator, Replay, Sink
    from vre.platform import Platform

#: What is exported, and where it is.
_MODULES = {
    "Cable": "model",
    "Capture": "model",
    "ConfigError": "errors",
    "Domu": "model",
    "Generator": "model",
    "HandlerError": "errors",
    "Platform": "platform",
    "PlatformError": "errors",
    "Replay": "model",
    "RouterHandle": "handle",
    "Sink": "model",
    "VreError": "errors",
}
__all__ = [
    "Cable",
    "Capture",
    "ConfigError",
    "Domu",
    "Generator",
    "HandlerError",
    "Platform",
    "PlatformError",
    "Replay",
    "RouterHandle",
    "Sink",
    "VreError",
]


def __getattr__(name: str) -> Any:
    # Imported when first used: the command line checks a configuration without them.
    if name in _MODULES:
        return getattr(import_module(f"vre.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'vre' has no attribute '{name}'")
