# SPDX-License-Identifier: MIT
"""Elements that look at no header: counting, painting, copying, dropping, printing."""

from __future__ import annotations

from typing import Any

from shm.intrinsics import add64, unlikely
from workers.arguments import Argument, between, boolean, string
from workers.datapath.packet import CLONE, DROP, stripped, uncover
from workers.element import Element, cap

_BYTE, _OUTPUT = between(0, 255), between(-1, 255)


class Null(Element):
    """Passes packets on unchanged.

    Syntax: `Null`
    """

    cycles = 10

    @staticmethod
    def process(state, packet):
        return 0


class Counter(Element):
    """Counts packets and bytes that pass.

    Syntax: `Counter`

    Handlers: `count`, `byte_count` (read), `reset_counts` (write).
    """

    keeps = ("count", "byte_count")
    cycles = 30
    state = {"count": "i8", "byte_count": "i8"}
    read_handlers = {"count": cap("count"), "byte_count": cap("byte_count")}

    @staticmethod
    def process(state, packet):
        state["count"] += 1
        state["byte_count"] += packet["length"]
        return 0

    @staticmethod
    def _reset(state: Any, text: str) -> None:
        state["count"] = state["byte_count"] = 0

    write_handlers = {"reset_counts": _reset}


class Discard(Element):
    """Drops every packet; pulls packets where its input is a pull path.

    Syntax: `Discard`

    Handlers: `count` (read).
    """

    ports = "1/0"
    reasons = ("discard",)
    driver = "pull"
    read_handlers = {"count": lambda state: str(int(state["drops"][0]))}

    @staticmethod
    def process(state, packet):
        return DROP


class Idle(Element):
    """Sends no packet ever and drops what it is given.

    Syntax: `Idle`
    """

    ports = "-/-"
    reasons = ("idle",)

    @staticmethod
    def process(state, packet):
        return DROP


class Tee(Element):
    """Sends a copy of each packet to every output.

    Syntax: `Tee([N])`, N the number of outputs; without it, as many as are connected.
    """

    ports = "1/1-"
    processing = "h/h"
    spreads = True
    arguments = (Argument("N", between(1, 255), None),)

    @classmethod
    def outputs(cls, values: dict[str, Any]) -> int | None:
        return values["n"]

    @staticmethod
    def process(state, packet):
        return 0


class Paint(Element):
    """Sets the paint annotation.

    Syntax: `Paint(COLOR)`, COLOR from 0 to 255.

    Handlers: `color` (read, write).
    """

    cycles = 20
    arguments = (Argument("COLOR", _BYTE, live=True),)
    state = {"color": "u1"}

    @staticmethod
    def process(state, packet):
        packet["paint"] = state["color"]
        return 0


class PaintTee(Element):
    """Sends a copy of packets painted COLOR to output 1, and every packet to output 0.

    A router uses it to send redirects: a packet that leaves where it came in carries the colour of that
    interface (RFC 1812, section 5.2.7.2).

    Syntax: `PaintTee(COLOR)`
    """

    cycles = 30
    ports = "1/2"
    processing = "h/h"
    clones = True
    arguments = (Argument("COLOR", _BYTE, live=True),)
    state = {"color": "u1"}

    @staticmethod
    def process(state, packet):
        if packet["paint"] == state["color"]:
            return CLONE + 1
        return 0


class CheckPaint(Element):
    """Sends packets painted COLOR to output 0, others to output 1 or nowhere.

    Syntax: `CheckPaint(COLOR)`
    """

    ports = "1/1-2"
    processing = "a/ah"
    arguments = (Argument("COLOR", _BYTE, live=True),)
    state = {"color": "u1"}
    reasons = ("other_paint",)
    bad_port = 1

    @staticmethod
    def process(state, packet):
        if packet["paint"] != state["color"]:
            return DROP
        return 0


class Switch(Element):
    """Sends every packet to one output, chosen by hand.

    Syntax: `Switch([OUTPUT])`, OUTPUT 0 by default; -1, or an output that is not connected, drops.

    Handlers: `switch` (read, write).
    """

    ports = "1/1-"
    processing = "h/h"
    arguments = (Argument("OUTPUT", _OUTPUT, 0),)
    state = {"output": "i8", "ports": "i8"}
    reasons = ("switched_off",)

    @staticmethod
    def process(state, packet):
        if state["output"] < 0:
            return DROP
        return state["output"]

    @staticmethod
    def _switch(state: Any, text: str) -> None:
        state["output"] = _OUTPUT(text)

    read_handlers = {"switch": cap("output")}
    write_handlers = {"switch": _switch}


class Strip(Element):
    """Removes LENGTH bytes at the front of each packet.

    Syntax: `Strip(LENGTH)`
    """

    cycles = 20
    arguments = (Argument("LENGTH", between(0, 2048)),)
    state = {"length": "i8"}
    reasons = ("too_short",)

    @staticmethod
    def process(state, packet):
        length = state["length"]
        if unlikely(packet["length"] < length):
            return DROP
        packet["data"] += length
        packet["length"] -= length
        return 0


class Unstrip(Element):
    """Puts back LENGTH bytes at the front of each packet: what was stripped, or written over it since.

    Syntax: `Unstrip(LENGTH)`

    A packet that never carried so many is dropped.
    """

    cycles = 20
    arguments = (Argument("LENGTH", between(0, 2048)),)
    state = {"length": "i8"}
    reasons = ("no_headroom",)

    @staticmethod
    def process(state, packet):
        if stripped(packet) < state["length"]:
            return DROP
        uncover(packet, state["length"])
        return 0


class Print(Element):
    """Prints a line for each packet, on the slow path.

    Syntax: `Print([LABEL, MAXLENGTH, CONTENTS c, ACTIVE a])`

    MAXLENGTH bytes are shown in hexadecimal (default 24, -1 all; CONTENTS false: none). The line is
    Click's: label, length, contents. Lines that are not read are dropped and counted; packets are not.

    Handlers: `active` (read, write).
    """

    arguments = (
        Argument("LABEL", string, ""),
        Argument("MAXLENGTH", between(-1, 65535), 24),
        Argument("CONTENTS", boolean, True, keyword=True),
        Argument("ACTIVE", boolean, True, keyword=True, live=True),
    )
    state = {"maxlength": "i8", "contents": "u1", "active": "u1", "label": "S32"}

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        state["label"] = values["label"].encode()[:32]

    @staticmethod
    def slow(state, packet, port, context):
        if state["active"]:
            label = bytes(state["label"]).decode("utf-8", "replace")
            size = len(packet.data) if state["maxlength"] < 0 else int(state["maxlength"])
            shown = packet.data[:size].hex(" ", -4).split(" ") if state["contents"] else []
            head = f"{label}: " if label else ""
            context.say(f"{head}{len(packet.data):4d} | {' '.join(shown)}".rstrip())
        yield 0, packet


class CheckLength(Element):
    """Sends packets of at most LENGTH bytes to output 0, longer ones to output 1 or nowhere.

    Syntax: `CheckLength(LENGTH)`
    """

    ports = "1/1-2"
    processing = "a/ah"
    arguments = (Argument("LENGTH", between(0, 65535), live=True),)
    state = {"length": "i8"}
    reasons = ("too_long",)
    bad_port = 1

    @staticmethod
    def process(state, packet):
        if packet["length"] > state["length"]:
            return DROP
        return 0


class Touch(Element):
    """Adds one to the first word of each packet that has one: the least a path can do to a packet.

    Syntax: `Touch`
    """

    @staticmethod
    def process(state, packet):
        if unlikely(packet["length"] < 8):
            return 0
        add64(packet["data"], 1)
        return 0
