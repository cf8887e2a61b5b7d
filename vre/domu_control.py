# SPDX-License-Identifier: MIT
"""What a domU may ask of the platform: a few typed requests, about its own router and no other.

| request | answer |
| --- | --- |
| `{"do": "add_route", "table": element, "route": "10.0.0.0/8 1"}` | `{"ok": true}` |
| `{"do": "remove_route", "table": element, "route": "10.0.0.0/8"}` | `{"ok": true}` |
| `{"do": "set_address", "element": element, "address": "10.0.0.1"}` | `{"ok": true}` |
| `{"do": "read", "handler": "element.handler"}` | `{"ok": true, "value": text}` |
| `{"do": "counters"}` | `{"ok": true, "injected": n, "forwarded": n, "dropped": {reason: n}, "in_flight": n}` |

Whose request it is follows from the channel it came by: nothing in it names a router. What is wrong with it comes
back as `{"error": text}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vre.boundary import Boundary
from vre.handle import RouterHandle
from workers.arguments import ip
from workers.element import load


def _text(message: dict[str, Any], field: str) -> str:
    value = message.get(field)
    if not isinstance(value, str) or len(value) > 1000:
        raise ValueError(f"'{field}' must be a string of at most 1000 characters")
    return value


def _add_route(router: RouterHandle, message: dict[str, Any]) -> dict[str, Any]:
    router.write(f"{_text(message, 'table')}.add", _text(message, "route"))
    return {}


def _remove_route(router: RouterHandle, message: dict[str, Any]) -> dict[str, Any]:
    router.write(f"{_text(message, 'table')}.remove", _text(message, "route"))
    return {}


def _set_address(router: RouterHandle, message: dict[str, Any]) -> dict[str, Any]:
    """Change the address that an element stands for: an ARPQuerier's, an ICMPError's, a FixIPSrc's."""
    element = _text(message, "element")
    fields = [a.field for a in load()[router.read(f"{element}.class")].arguments if a.live and a.kind is ip]
    if not fields:
        raise ValueError(f"'{element}' has no address that can be set")
    router.write(f"{element}.{fields[0]}", _text(message, "address"))
    return {}


def _read(router: RouterHandle, message: dict[str, Any]) -> dict[str, Any]:
    return {"value": router.read(_text(message, "handler"))[:2000]}


def _counters(router: RouterHandle, message: dict[str, Any]) -> dict[str, Any]:
    stats = router.stats()
    return {
        "injected": stats.injected,
        "forwarded": stats.forwarded,
        "dropped": stats.dropped,
        "in_flight": stats.in_flight,
    }


_VERBS: dict[Any, Callable[[RouterHandle, dict[str, Any]], dict[str, Any]]] = {
    "add_route": _add_route,
    "remove_route": _remove_route,
    "set_address": _set_address,
    "read": _read,
    "counters": _counters,
}


def answer(boundary: Boundary, router: RouterHandle, message: dict[str, Any]) -> dict[str, Any]:
    """Do what a router's domU asks for, if it may; return the answer."""
    verb = message.get("do")
    if not isinstance(verb, str) or verb not in _VERBS:
        return {"error": f"'do' must be one of {', '.join(_VERBS)}"}
    who = f"router {router.name}"
    said = boundary.answer(f"its domU's request '{verb}'", who, lambda: {"ok": True, **_VERBS[verb](router, message)})
    return {"error": said["error"][:1000]} if "error" in said else said
