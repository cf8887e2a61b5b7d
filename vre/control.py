# SPDX-License-Identifier: MIT
"""Asking a running platform to do something: lines of JSON over a socket in its run directory.

A request is `{"do": verb, ...}`, its answer `{"ok": true, ...}` or `{"error": text}`. Only the user who runs the
platform can reach the socket. What can be read without asking is read from shared memory instead.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vre.errors import PlatformError, nearest

if TYPE_CHECKING:
    from vre.platform import Platform

#: Longest request: a configuration's text fits many times.
_LONGEST = 1 << 22


class ControlServer:
    """Serves requests, one after the other, whenever the platform has time for them."""

    def __init__(self, path: Path, platform: Platform) -> None:
        self._path, self._platform = path, platform
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(str(path))
        self._listener.listen()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._unread: dict[socket.socket, bytes] = {}

    def serve(self) -> None:
        """Answer what has been asked; never wait."""
        for key, _ in self._selector.select(0):
            if key.fileobj is self._listener:
                client, _ = self._listener.accept()
                client.settimeout(1.0)
                self._selector.register(client, selectors.EVENT_READ)
                self._unread[client] = b""
            else:
                self._read(key.fileobj)  # type: ignore[arg-type]

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        self._unread[client] += data
        if not data or len(self._unread[client]) > _LONGEST:
            self._drop(client)
            return
        *lines, self._unread[client] = self._unread[client].split(b"\n")
        for line in lines:
            answer = self._answer(line)
            try:
                client.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                self._drop(client)
                return

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._unread[client]
        client.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        return self._platform.boundary.answer("request", "control socket", self._do, line)

    def _do(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb = _VERBS[request["do"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": "not a request of this version of vre"}
        return {"ok": True, **(verb(self._platform, request) or {})}

    def close(self) -> None:
        """Stop serving."""
        for client in list(self._unread):
            self._drop(client)
        self._selector.close()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def _read(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return {"value": platform.read(request["what"])}


def _write(platform: Platform, request: dict[str, Any]) -> None:
    platform.write(request["what"], request["value"])


def _add(platform: Platform, request: dict[str, Any]) -> None:
    from vre.config import load_model

    model = load_model(Path(request["file"]))
    name = request["router"]
    if name not in model.routers:
        raise PlatformError(f"{request['file']} has no router '{name}'{nearest(name, model.routers)}")
    platform.add(model.routers[name])


def _remove(platform: Platform, request: dict[str, Any]) -> None:
    platform.remove(request["router"])


def _replace(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return {"rested_s": platform.replace(request["router"], request["config"], request["file"])}


def _move(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return {"rested_s": platform.move(request["path"], request["core"])}


def _views(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return {"rows": {"events": platform.recent_events, "domus": platform.domus.rows}[request["what"]]()}


_VERBS: dict[str, Callable[[Platform, dict[str, Any]], dict[str, Any] | None]] = {
    "read": _read,
    "write": _write,
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "view": _views,
}


def ask(path: Path, /, **request: Any) -> dict[str, Any]:
    """Ask the platform whose socket is at `path`. Raises PlatformError with its answer where that is an error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as answers:
                answer = json.loads(answers.readline() or b"{}")
        except (OSError, ValueError) as error:
            raise PlatformError(f"the platform does not answer: {error}") from None
    if "error" in answer or not answer:
        raise PlatformError(answer.get("error", "the platform has ended"))
    return answer
