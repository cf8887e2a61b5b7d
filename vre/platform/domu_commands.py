# SPDX-License-Identifier: MIT
"""The requests of a domU to the platform: few, typed, and only about its own router.

| request | answer |
| --- | --- |
| `{"do": "add_route", "table": element, "route": "10.0.0.0/8 1"}` | `{"ok": true}` |
| `{"do": "remove_route", "table": element, "route": "10.0.0.0/8"}` | `{"ok": true}` |
| `{"do": "set_address", "element": element, "address": "10.0.0.1"}` | `{"ok": true}` |
| `{"do": "read", "handler": "element.handler"}` | `{"ok": true, "value": text}` |
| `{"do": "counters"}` | `{"ok": true, "injected": n, "forwarded": n, "dropped": {reason: n}, "in_flight": n}` |

The control channel that a request came by determines its router; nothing in it names one. An error comes back as
`{"error": text}`.
"""

from __future__ import annotations

import json
from typing import Any

from shm.escape import escape
from vre.platform.router import RouterHandle
from vre.platform.verbs import Verb, text, understand
from vre.supervision.boundary import Boundary
from workers.arguments import ip
from workers.element import load

_TEXT = text(1000)
#: Longest value that is sent back, in bytes of JSON.
_LONGEST_VALUE = 4000


def _add_route(router: RouterHandle, table: str, route: str) -> None:
    router.write(f"{table}.add", route)


def _remove_route(router: RouterHandle, table: str, route: str) -> None:
    router.write(f"{table}.remove", route)


def _set_address(router: RouterHandle, element: str, address: str) -> None:
    """Change the address of an element: an ARPQuerier's, an ICMPError's, a FixIPSrc's."""
    fields = [a.field for a in load()[router.read(f"{element}.class")].arguments if a.live and a.kind is ip]
    if not fields:
        raise ValueError(f"'{element}' has no address that can be set")
    router.write(f"{element}.{fields[0]}", address)


def _read(router: RouterHandle, handler: str) -> dict[str, Any]:
    value = router.read(handler, 2000)
    # As JSON it must fit a message; a character may take six bytes.
    while len(json.dumps(value)) > _LONGEST_VALUE:
        value = value[: len(value) // 2]
    return {"value": value}


def _counters(router: RouterHandle) -> dict[str, Any]:
    stats = router.stats()
    return {
        "injected": stats.injected,
        "forwarded": stats.forwarded,
        "dropped": stats.dropped,
        "in_flight": stats.in_flight,
    }


#: All requests of a domU.
VERBS = {
    "add_route": Verb(_add_route, {"table": _TEXT, "route": _TEXT}),
    "remove_route": Verb(_remove_route, {"table": _TEXT, "route": _TEXT}),
    "set_address": Verb(_set_address, {"element": _TEXT, "address": _TEXT}),
    "read": Verb(_read, {"handler": _TEXT}),
    "counters": Verb(_counters, {}),
}


def answer(boundary: Boundary, router: RouterHandle, message: dict[str, Any]) -> dict[str, Any]:
    """Handle a request of a router's domU; return the answer."""
    said = boundary.answer("a request of its domU", f"router {router.name}", _do, router, message)
    return {"error": escape(said["error"], 1000)} if "error" in said else said


def _do(router: RouterHandle, message: dict[str, Any]) -> dict[str, Any]:
    verb, values = understand(VERBS, message)
    return {"ok": True, **(verb.do(router, **values) or {})}
