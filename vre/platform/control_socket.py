# SPDX-License-Identifier: MIT
"""Requests to a running platform: lines of JSON over a socket in its run directory.

A request is `{"do": verb, ...}`, its answer `{"ok": true, ...}` or `{"error": text}`. Only the user who runs the
platform can reach the socket. Counters are read from shared memory instead.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vre.config.fields import MAX_CORES, boolean, choice, integer
from vre.errors import PlatformError, why_not
from vre.platform.commands import Commands
from vre.platform.connections import LONGEST, Connections, reachable
from vre.platform.verbs import NAME, VALUE, Verb, parse, table, text, understand
from vre.supervision.boundary import Boundary

#: Longest answer in bytes.
_LONGEST_ANSWER = 1 << 24
#: How long an answer may take, in seconds: a write may wait 10 s for the end of a slice; a change compiles, and waits
#: for new processes and domUs.
ANSWER_S, CHANGE_S = 15.0, 600.0
_QUICK = ("read", "write", "view")


class ControlServer(Connections):
    """Serves requests, one after the other, when the platform polls.

    Parameters
    ----------
    path : Path
        The socket's path.
    boundary : Boundary
        Turns exceptions into answers.
    verbs : Mapping
        All requests by name.
    """

    def __init__(self, path: Path, boundary: Boundary, verbs: Mapping[str, Verb]) -> None:
        self._boundary, self.verbs = boundary, verbs
        super().__init__(path, self.said)

    def said(self, line: bytes) -> bytes:
        """Handle one line; return the answer."""
        answer = self._boundary.answer("request", "control socket", self._do, line)
        said = json.dumps(answer, default=str).encode()
        if len(said) > _LONGEST_ANSWER:
            return json.dumps({"error": f"the answer has {len(said)} bytes: too many"}).encode()
        return said

    def _do(self, line: bytes) -> dict[str, Any]:
        verb, values = understand(self.verbs, parse(line))
        return {"ok": True, **(verb.do(**values) or {})}


def verbs_of(commands: Commands, views: Mapping[str, Callable[[], list[dict[str, Any]]]]) -> dict[str, Verb]:
    """Return a platform's requests: its commands, and its views by name."""
    return {
        "read": Verb(lambda what: {"value": commands.read(what)}, {"what": text(NAME)}),
        "write": Verb(commands.write, {"what": text(NAME), "value": text(VALUE)}),
        "add": Verb(
            lambda file, router: commands.add_from(Path(file), router), {"file": text(4096), "router": text(NAME)}
        ),
        "remove": Verb(lambda router: commands.remove(router), {"router": text(NAME)}),
        "replace": Verb(
            lambda router, config, file: {"rested_s": commands.replace(router, config, file)},
            {"router": text(NAME), "config": text(LONGEST), "file": text(4096)},
        ),
        "move": Verb(
            lambda path, core: {"rested_s": commands.move(path, core)},
            {"path": text(NAME), "core": integer(0, MAX_CORES)},
        ),
        "link": Verb(
            lambda port, direction, clear, values: {"rows": commands.link(port, direction or None, clear, values)},
            {
                "port": text(NAME),
                "direction": choice("", "in", "out"),
                "clear": boolean,
                "values": table,
            },
        ),
        "view": Verb(lambda what: {"rows": views[what]()}, {"what": choice(*views)}),
    }


def ask(path: Path, timeout_s: float | None = None, /, **request: Any) -> dict[str, Any]:
    """Send a request to the platform whose socket is at `path`, and wait for its answer.

    Parameters
    ----------
    path : Path
    timeout_s : float, optional
        Timeout [the default of the request].
    request
        The verb and its values.

    Raises
    ------
    PlatformError
        The answer is an error, or there is none in time.
    """
    timeout_s = timeout_s or (ANSWER_S if request["do"] in _QUICK else CHANGE_S)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # settimeout does not cover a full backlog: the connection would be refused at once.
        client.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        )
        try:
            with reachable(path) as address:
                client.connect(address)
            client.settimeout(timeout_s)
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as answers:
                answer = json.loads(answers.readline() or b"{}")
        except (TimeoutError, BlockingIOError):
            # BlockingIOError: the backlog is full.
            raise PlatformError(f"the platform has not answered within {timeout_s:g} s: is it stopped?") from None
        except OSError as error:
            raise PlatformError(f"the platform does not answer: {why_not(error)}") from None
        except ValueError as error:
            raise PlatformError(f"the platform's answer is not JSON: {error}") from None
    if "error" in answer or not answer:
        raise PlatformError(answer.get("error", "the platform has ended"))
    return answer
