# SPDX-License-Identifier: MIT
"""The boundary around requests: an exception becomes the request's answer, and the platform goes on.

| raised | what follows |
| --- | --- |
| VreError, ValueError: an error in the request | the answer says so |
| any other Exception: an error in the platform | an answer, an event with its position, a count |
| PlatformEnded, KeyboardInterrupt, SystemExit | it propagates: no request caused it |

The same error of the same party is an event the first, the 10th, the 100th ... time, so repeating it fills no log.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from shm.escape import escape
from vre.errors import ConfigError, PlatformEnded, Unexpected, VreError
from vre.supervision.tally import Tally

P = ParamSpec("P")
T = TypeVar("T")

#: Different errors that are counted separately; beyond that the oldest is forgotten.
_KINDS = 256
#: Longest answer, in characters: a configuration's errors are shown with their lines.
_LONGEST = 100_000


class Boundary:
    """One platform's boundary for requests.

    Parameters
    ----------
    report : callable
        Told of events.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        #: (who, kind, type and place of the exception) to how often it was raised.
        self.unexpected: Tally[tuple[str, str, str]] = Tally(_KINDS)

    def call(self, kind: str, who: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns.

        Parameters
        ----------
        kind, who : str
            The request, as in "write", and the party it comes from or is about: "router red".
        function : callable
        args, kwargs
            Of the function.

        Raises
        ------
        VreError, ValueError
            The request is wrong.
        Unexpected
            Any other exception.
        """
        try:
            return function(*args, **kwargs)
        except (VreError, ValueError):
            raise
        except Exception as error:
            raise Unexpected(self.note(kind, who, error)) from error

    def answer(
        self, kind: str, who: str, function: Callable[P, dict[str, Any]], *args: P.args, **kwargs: P.kwargs
    ) -> dict[str, Any]:
        """Return the dict that `function` returns, or `{"error": text}`."""
        try:
            return self.call(kind, who, function, *args, **kwargs)
        except PlatformEnded:
            raise
        except ConfigError as error:
            text = str(error).removeprefix("error: ")
        except (VreError, ValueError) as error:
            text = str(error)
        return {"error": text[:_LONGEST]}

    def note(self, kind: str, who: str, error: Exception) -> str:
        """Count an unexpected exception, and report it if it is new; return the answer."""
        what = f"{type(error).__name__} at {place(error)}"
        said = f"{kind} failed: {what}: {_text(error)}"
        times = self.unexpected.note((who, kind, what))
        if times is not None:
            self._report(f"{who}: {said}{times}")
        return said


def place(error: BaseException) -> str:
    """Return where an exception was raised, as `folder/file:line`."""
    trace = error.__traceback__
    if trace is None:
        return "nowhere"
    while trace.tb_next:
        trace = trace.tb_next
    return f"{'/'.join(Path(trace.tb_frame.f_code.co_filename).parts[-2:])}:{trace.tb_lineno}"


def _text(error: Exception) -> str:
    try:
        return escape(str(error))
    except Exception:  # an exception of a plug-in may fail in __str__
        return "it has no text"
