# SPDX-License-Identifier: MIT
"""Dataclasses as JSON: what processes tell each other is declared once, and checked when it is read.

| declared | in JSON |
| --- | --- |
| dataclass | object: a key for each field; a field with a default may be missing, an unknown key is an error |
| `tuple[T, ...]`, `tuple[A, B]` | array |
| `dict[str, T]`, `dict[int, T]` | object |
| `T \\| None` | as `T`, or null |
| `str`, `bool`, `int`, `float` | as it is; a whole number may be a float, but no boolean may be a number |
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class CodecError(ValueError):
    """JSON that is not what was declared."""


def to_json(value: Any) -> str:
    """Return dataclasses, and what they hold, as JSON."""
    return json.dumps(value, default=_as_object)


def from_plain(kind: type[T], plain: Any) -> T:
    """Return what :func:`json.loads` has made as an instance of a dataclass. Raises CodecError if it is not one."""
    reader: Callable[[Any], T] = _reader(kind)  # type: ignore[arg-type]
    return reader(plain)


class Messages(Generic[T]):
    """The kinds of messages that go one way: each is an object whose only key is its class's name."""

    def __init__(self, *kinds: type[T]) -> None:
        self._kinds = {kind.__name__: kind for kind in kinds}

    def write(self, message: T) -> bytes:
        """Return a message as JSON, without a line break in it."""
        return to_json({type(message).__name__: message}).encode()

    def read(self, data: bytes) -> T:
        """Return the message that was written. Raises ValueError if it is none of these kinds."""
        plain = json.loads(data)
        name = next(iter(plain), "") if isinstance(plain, dict) and len(plain) == 1 else ""
        if name not in self._kinds:
            raise CodecError(f"{data!r:.100} is none of {', '.join(self._kinds)}")
        return from_plain(self._kinds[name], plain[name])


def _as_object(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return what makes a value of a type from plain data."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _object_reader(kind)
    if origin is tuple:
        return _array_reader(parts)
    if origin is dict:
        kind_of_key, value = parts[0], _reader(parts[1])
        return lambda plain: {kind_of_key(key): value(one) for key, one in _checked(plain, dict).items()}
    if origin in (Union, UnionType):
        (other,) = (_reader(part) for part in parts if part is not NoneType)
        return lambda plain: None if plain is None else other(plain)
    return lambda plain: _checked(plain, kind)


def _checked(plain: Any, kind: Any) -> Any:
    if type(plain) is not kind and not (kind is float and type(plain) is int):
        raise CodecError(f"{plain!r:.50} is no {kind.__name__}")
    return plain


def _object_reader(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}

    def read(plain: Any) -> Any:
        values = {}
        for name, value in _checked(plain, dict).items():
            if name not in readers:
                raise CodecError(f"{kind.__name__} has no field {name!r}")
            try:
                values[name] = readers[name](value)
            except CodecError as error:
                raise CodecError(f"{kind.__name__}.{name}: {error}") from None
        try:
            return kind(**values)
        except TypeError as error:
            raise CodecError(f"{kind.__name__}: {error}") from None

    return read


def _array_reader(parts: tuple[Any, ...]) -> Callable[[Any], Any]:
    readers = [_reader(part) for part in parts if part is not ...]

    def read(plain: Any) -> Any:
        if parts[-1] is ...:
            return tuple(map(readers[0], _checked(plain, list)))
        if len(_checked(plain, list)) != len(readers):
            raise CodecError(f"{len(plain)} values in place of {len(readers)}")
        return tuple(reader(one) for reader, one in zip(readers, plain, strict=True))

    return read
