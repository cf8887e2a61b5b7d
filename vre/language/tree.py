# SPDX-License-Identifier: MIT
"""The syntax tree of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Ports:
    """A port list: numbers, and the number from which on all are meant (None: none)."""

    numbers: list[int]
    rest: int | None = None


@dataclass
class ElementRef:
    """An element as it is written: a name, a class with configuration, a compound or a group.

    A bare name is in `name`: only the whole scope tells whether it refers to an element or is a class.
    """

    at: int
    name: str = ""
    class_name: str = ""
    compound: Compound | None = None
    config: str | None = None
    config_at: int = 0
    declared: bool = False
    group: str = ""  #: "in" or "out": the inside of a group's boundary
    group_id: int = 0
    group_ports: tuple[int, int] = (0, 0)  #: inputs and outputs that a group's inside uses

    @property
    def key(self) -> str:
        """What tells elements of a scope apart: all mentions of a name are one."""
        return self.name or str(id(self))


@dataclass
class Endpoint:
    """An element in a connection, with the ports on either side."""

    ref: ElementRef
    inputs: Ports | None = None
    outputs: Ports | None = None


@dataclass
class Connection:
    """One arrow: all endpoints on its left and on its right."""

    left: list[Endpoint]
    right: list[Endpoint]
    arrow: str
    at: int


@dataclass
class Scope:
    """The body of a file or of a compound class."""

    elements: list[ElementRef] = field(default_factory=list)  #: every mention, in order
    connections: list[Connection] = field(default_factory=list)
    classes: dict[str, Compound | str] = field(default_factory=dict)
    defines: dict[str, str] = field(default_factory=dict)
    formals: list[tuple[str, str]] = field(default_factory=list)  #: (keyword or "", variable)
    groups: int = 0


@dataclass
class Compound:
    """A compound class: its overloads, and whether it extends an older class of the name (`...`)."""

    overloads: list[Scope]
    extends: bool
    at: int
