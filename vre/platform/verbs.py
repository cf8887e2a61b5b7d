# SPDX-License-Identifier: MIT
"""Requests, each declared once: its name, its fields, and the function that carries it out.

A request is a JSON object, `{"do": verb, field: value, ...}`. A sender may send anything: what does not fit its
description is said to be wrong before anything is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shm.escape import escape
from vre.errors import PlatformError, nearest

#: Longest name of an element or a router, and longest value that is written to a handler, in characters.
NAME, VALUE = 1000, 1 << 20


class RequestError(PlatformError):
    """A request that is none, or that lacks something; nothing has been done."""


@dataclass(frozen=True)
class Verb:
    """One kind of request.

    Attributes
    ----------
    do : callable
        Takes what is asked, and the fields by name; returns what the answer has besides `"ok"`.
    fields : dict
        Each field's kind: a function that returns the value that it takes, or raises ValueError. All must be there.
    """

    do: Callable[..., dict[str, Any] | None]
    fields: Mapping[str, Callable[[Any], Any]]


def text(longest: int) -> Callable[[Any], str]:
    """Return a kind: a string of at most `longest` characters that can be written to a file."""

    def kind(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise ValueError(f"must be a string of at most {longest} characters")
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("must be text: it has a NUL, or half a character")
        return value

    return kind


def table(value: Any) -> dict[str, Any]:
    """Take an object; its values are checked later."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    return value


def parse(line: bytes) -> dict[str, Any]:
    """Return the JSON object that a line is. Raises RequestError."""
    try:
        request = json.loads(line, parse_constant=_refuse)
    except RecursionError:
        raise RequestError("not a request: it is nested too deeply") from None
    except ValueError as error:
        raise RequestError(f"not a request: not JSON: {escape(str(error))}") from None
    if not isinstance(request, dict):
        raise RequestError('not a request: a JSON object is, as in {"do": "read", "what": "red.entitlement"}')
    return request


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def understand(verbs: Mapping[str, Verb], request: dict[str, Any]) -> tuple[Verb, dict[str, Any]]:
    """Return what a request asks for: its verb, and its fields, checked. Raises RequestError."""
    name = request.get("do")
    if not isinstance(name, str) or name not in verbs:
        hint = nearest(name[:NAME], verbs) if isinstance(name, str) else ""
        raise RequestError(f"'do' must be one of {', '.join(verbs)}{hint}")
    verb = verbs[name]
    values = {}
    for field, kind in verb.fields.items():
        if field not in request:
            raise RequestError(f"request '{name}' needs '{field}'; its fields are {', '.join(verb.fields)}")
        try:
            values[field] = kind(request[field])
        except ValueError as error:
            raise RequestError(f"request '{name}': '{field}' {escape(str(error))}") from None
    for field in request:
        if field != "do" and field not in verb.fields:
            hint = nearest(field[:NAME], verb.fields) or f"; it has {', '.join(verb.fields) or 'none'}"
            raise RequestError(f"request '{name}' has no field '{escape(field)}'{hint}")
    return verb, values
