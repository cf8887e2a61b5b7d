# SPDX-License-Identifier: MIT
"""Methods of the Python interface that have the signature and the docstring of what does the work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from vre.platform.commands import Commands
from vre.platform.running import Running

P = ParamSpec("P")
D = TypeVar("D")
R = TypeVar("R")
S = TypeVar("S")


class Started(Protocol):
    """What has parts while it runs; to ask for them before raises PlatformError."""

    @property
    def parts(self) -> Running:
        """Its parts."""
        ...


def of_parts(method: Callable[Concatenate[Running, P], R]) -> Callable[Concatenate[Started, P], R]:
    """Return a method of a platform that calls this one of its parts."""

    @functools.wraps(method)
    def forwarded(self: Started, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.parts, *args, **kwargs)

    return forwarded


def of_commands(method: Callable[Concatenate[Commands, P], R]) -> Callable[Concatenate[Started, P], R]:
    """Return a method of a platform that gives it this command."""

    @functools.wraps(method)
    def forwarded(self: Started, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.parts.commands, *args, **kwargs)

    return forwarded


def made_by(make: Callable[P, D]) -> Callable[[Callable[[S, D], R]], Callable[Concatenate[S, P], R]]:
    """Let a method of one object take what `make` makes it from; its docstring goes on as that of `make`."""

    def around(method: Callable[[S, D], R]) -> Callable[Concatenate[S, P], R]:
        @functools.wraps(method)
        def described(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(self, make(*args, **kwargs))

        first = next(iter(inspect.signature(method).parameters.values()))
        parameters = inspect.signature(make).parameters.values()
        shown: Any = described
        shown.__signature__ = inspect.signature(method).replace(parameters=[first, *parameters])
        _, _, rest = (inspect.getdoc(make) or "").partition("\n\n")
        shown.__doc__ = f"{inspect.getdoc(method)}\n\n{rest}".strip()
        return described

    return around
