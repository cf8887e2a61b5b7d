# SPDX-License-Identifier: MIT
"""A software virtual router platform: one box acts as many routers, each with its promised share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vre.config.model import Cable, Capture, Domu, Generator, Interface, Replay, Sink, Tap, Veth, Vxlan, Xdp
    from vre.errors import ConfigError, HandlerError, PlatformError, VreError
    from vre.platform.platform import Platform
    from vre.platform.router import RouterHandle

#: What is exported, and where it is.
_MODULES = {
    "Cable": "config.model",
    "Capture": "config.model",
    "ConfigError": "errors",
    "Domu": "config.model",
    "Generator": "config.model",
    "HandlerError": "errors",
    "Interface": "config.model",
    "Platform": "platform.platform",
    "PlatformError": "errors",
    "Replay": "config.model",
    "RouterHandle": "platform.router",
    "Sink": "config.model",
    "Tap": "config.model",
    "Veth": "config.model",
    "VreError": "errors",
    "Vxlan": "config.model",
    "Xdp": "config.model",
}
__all__ = [
    "Cable",
    "Capture",
    "ConfigError",
    "Domu",
    "Generator",
    "HandlerError",
    "Interface",
    "Platform",
    "PlatformError",
    "Replay",
    "RouterHandle",
    "Sink",
    "Tap",
    "Veth",
    "VreError",
    "Vxlan",
    "Xdp",
]


def __getattr__(name: str) -> Any:
    # Imported when first used: the command line checks a configuration without them.
    if name in _MODULES:
        return getattr(import_module(f"vre.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'vre' has no attribute '{name}'")
