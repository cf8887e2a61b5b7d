# SPDX-License-Identifier: MIT
"""Random routers of all elements that are registered, and random packets for them.

What an element takes is found out from its declaration: its ports, and for each argument one of some texts that its
kind accepts. An element that is added later is in the graphs without being named here.
"""

from __future__ import annotations

from pathlib import Path

from workers.arguments import REQUIRED
from workers.datapath.checksum import checksum
from workers.element import load, port_range, processing_of

#: Texts that arguments may be; what none of them fits needs one more.
TEXTS = (
    *(str(n) for n in (*range(3), 4, 5, 8, 13, 14, 15, 20, 28, 33, 34, 60, 64, 68, 100, 128, 200, 255, 300, 370, 576)),
    *("1000", "1500", "2038", "2047", "2048"),
    *("-1", "true", "false", "10ms", "1s", "100kpps"),
    *("10.0.0.1", "198.19.0.1", "255.255.255.255", "10.0.0.1 10.0.0.2", "10.0.0.1/24", "0/0"),
    *("02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "10.0.0.1 02:00:00:00:00:01", "198.19.0.0/16 02:00:00:00:00:01"),
    *("0/0 0", "198.19.0.0/16 1", "10.0.0.0/8 10.0.0.9 0", "198.19.7.1/32 10.0.0.3 2", "10.0.0.0/25 1"),
    *("-", "12/0800", "12/0806 20/0001", "12/0806 20/0002", "!12/0800", "0/0?", "2/11 9/00", "30/c613%ffff"),
    *("timeexceeded", "parameterproblem", "unreachable", "redirect", "3", "11", "12", "5"),
    *("\\<00 11 22>", "\\<>", "eth0", f"{Path(__file__).parents[1] / 'shm' / 'element.py'}:Anything", "eth0 1"),
)
#: Most that an element may ask for, so that a router is made in an instant: bytes, slots of its rings, and outputs.
MOST_BYTES, MOST_SLOTS, MOST_OUTPUTS = 4 << 20, 64, 6
_TRIES = 200


class Graph:
    """A random router. `chance` makes all choices; `must` is a class that is in it."""

    def __init__(self, chance, must):
        self._chance, self._must = chance, must
        self._lines, self._open, self._wanting = [], [], []
        self._count = 0
        self._begin()
        for _ in range(chance.randrange(3, 14)):
            if not self._open:
                break
            self._grow(chance.choice(_WITH_INPUT))
        if not any(must.__name__ in line for line in self._lines):
            self._grow(must)
        self._end()

    @property
    def text(self):
        """The configuration."""
        return "\n".join(self._lines)

    def _begin(self):
        self._declare(load()["FromDevice"], "h", "eth0")
        if self._chance.random() < 0.6:
            self._grow(load()["Strip"], "14")
            self._grow(load()["CheckIPHeader"], "")
        if self._must not in _WITH_INPUT:
            self._declare(self._must, "h")
        elif self._chance.random() < 0.2:
            self._declare(self._chance.choice(_SOURCES), "h")

    def _add(self, cls, text=None):
        """Declare an element; return its name and how many outputs it has."""
        text = arguments(self._chance, cls) if text is None else text
        values, errors = cls.bind(text)
        assert not errors, errors
        name = f"x{self._count}"
        self._count += 1
        self._lines.append(f"{name} :: {cls.__name__}({text});")
        low, high = port_range(cls.ports.partition("/")[2])
        asked = cls.outputs(values)
        outputs = asked if asked is not None else self._chance.randint(low, min(high, low + 2))
        return name, outputs

    def _declare(self, cls, kind, text=None):
        """Add an element whose first input is of a kind; its outputs are open, its other inputs wanting."""
        name, outputs = self._add(cls, text)
        left, right = (code or "a" for code in cls.processing.split("/"))
        low, high = port_range(cls.ports.partition("/")[0])
        inputs = self._chance.randint(low, min(high, low + 1))
        for port in range(outputs):
            code = processing_of(right, port)
            self._open.append((name, port, kind if code == "a" else code))
        self._wanting += [(name, port, kind if processing_of(left, port) == "a" else left) for port in range(1, inputs)]
        return name

    def _grow(self, cls, text=None):
        """Put an element behind an open output that it can take packets from."""
        self._chance.shuffle(self._open)
        code = processing_of(cls.processing.partition("/")[0], 0)
        fits = [o for o in self._open if code in ("a", o[2])]
        if not fits:
            pull = code == "l"
            if not self._open:
                return
            # One more between them: what turns push into pull, or pull into push.
            self._grow(load()["Queue" if pull else "Unqueue"])
            fits = [o for o in self._open if code in ("a", o[2])]
            if not fits:
                return
        source, output, kind = fits[0]
        self._open.remove(fits[0])
        mixed = [w for w in self._wanting if w[2] == kind]
        if mixed and self._chance.random() < 0.5:
            self._wanting.remove(mixed[0])
            self._lines.append(f"{source}[{output}] -> [{mixed[0][1]}] {mixed[0][0]};")
            return
        name = self._declare(cls, kind, text)
        self._lines.append(f"{source}[{output}] -> {name};")

    def _end(self):
        for source, output, kind in self._open:
            end = self._chance.choice(["ToDevice(eth1)", "ToDevice(eth1)", "ToDevice(eth0)", "Discard"])
            if kind == "h" and self._chance.random() < 0.5:
                end = f"Queue(64) -> {end}"
            self._lines.append(f"{source}[{output}] -> {end};")
        for name, port, _ in self._wanting:
            self._lines.append(f"Idle -> [{port}] {name};")


def arguments(chance, cls):
    """Return a configuration string for an element; AssertionError names what no text fits."""
    for _ in range(_TRIES):
        text = ", ".join(_texts(chance, cls))
        values, errors = cls.bind(text)
        if not errors and _is_small(cls.needs(values)) and (cls.outputs(values) or 0) <= MOST_OUTPUTS:
            return text
    raise AssertionError(f"no arguments found for {cls.__name__}: {text!r} {errors}; TEXTS lacks what it takes")


def _is_small(needs):
    return sum(needs.areas.values()) <= MOST_BYTES and sum(needs.rings.values()) <= MOST_SLOTS


def _texts(chance, cls):
    named = []
    for argument in cls.arguments:
        fitting = _fitting(argument)
        assert fitting, f"no text for {argument.name} of {cls.__name__}: add one to TEXTS"
        if argument.rest:
            yield from (chance.choice(fitting) for _ in range(chance.randrange(4)))
        elif argument.default is REQUIRED and not argument.keyword:
            yield chance.choice(fitting)
        elif chance.random() < 0.5:
            named.append(f"{argument.name} {chance.choice(fitting)}")
    yield from named


_known = {}


def _fitting(argument):
    """Return the texts that an argument may be."""
    key = argument.name, argument.kind
    if key not in _known:
        _known[key] = [text for text in TEXTS if _fits(argument, text)]
        if argument.name == "DEVNAME":
            _known[key] = ["eth0", "eth1"]
    return _known[key]


def _fits(argument, text):
    try:
        argument.kind(text)
    except ValueError:
        return False
    return True


def classes():
    """Return all classes, by name."""
    return [cls for _, cls in sorted(load().items())]


_WITH_INPUT = [cls for cls in classes() if port_range(cls.ports.partition("/")[0])[1] > 0]
_SOURCES = [cls for cls in classes() if cls.driver == "source"]

_SIZES = (*range(16), 18, 20, 33, 34, 35, 41, 42, 43, 60, 61, 64, 100, 127, 128, 129, 130, 142, 192, 200, 512, 1000)
_LARGE = (1514, 1984, 2040, 2047, 2048)


def frames(chance, count):
    """Return random frames: right ones, wrong ones and noise, of all sizes."""
    return [_frame(chance) for _ in range(count)]


def _frame(chance):
    size = chance.choice(_SIZES + _LARGE if chance.random() < 0.3 else _SIZES)
    kind = chance.randrange(9)
    if kind in (0, 2):
        # What ends before its headers do.
        size = chance.choice([size, chance.randrange(64)])
    if kind == 0:
        return bytes(chance.choices(range(8), k=size))
    if kind == 1:
        head = _arp(chance)
    else:
        options = chance.choice([b""] * 4 + [bytes([k, 11, 5, *bytes(9)]) for k in (1, 7, 68, 131)] + [bytes([7] * 40)])
        head = _ip(chance, size, options)
    frame = bytearray(head.ljust(size, b"\0"))
    if kind == 2:
        del frame[size:]
    elif kind == 3:
        for _ in range(chance.randrange(1, 4)):
            frame[chance.randrange(len(frame))] = chance.choice([0, 1, 7, 15, 68, 131, 255])
    return bytes(frame[:2048])


def _ether(chance):
    mac = chance.choice(["020000000001"] * 3 + ["ffffffffffff", "020000000044", "01005e000001"])
    return bytes.fromhex(mac + "020000000099")


def _address(chance, names):
    return bytes(int(part) for part in chance.choice(names).split("."))


def _arp(chance):
    asked = _address(chance, ("10.0.0.1", "198.19.0.1", "10.0.0.2"))
    operation = bytes([0, chance.choice([1, 2])])
    sender = bytes.fromhex("020000000077") + _address(chance, ("10.0.0.7", "198.19.0.1"))
    return _ether(chance) + bytes.fromhex("0806 0001 0800 06 04") + operation + sender + bytes(6) + asked


def _ip(chance, size, options):
    """Return an IP packet in an Ethernet frame, its lengths right as a rule and its checksum always."""
    words = 5 + len(options) // 4 if chance.random() < 0.9 else chance.choice([0, 4, 6, 10, 15])
    total = max(size - 14, 4 * words) if chance.random() < 0.9 else chance.choice([0, 20, 28, 60, size])
    header = bytearray([0x40 | words, 0, *total.to_bytes(2, "big"), 0, 1, chance.choice([0, 0x40, 0x20]), 0])
    header += bytes([chance.choice([0, 1, 2, 64, 64, 64]), chance.choice([1, 17]), 0, 0])
    header += _address(chance, ("198.18.0.1", "198.18.0.1", "10.0.0.255", "127.0.0.1", "0.0.0.0"))
    header += _address(
        chance, ("198.19.0.1", "198.19.7.1", "10.0.0.1", "10.0.0.7", "224.0.0.1", "255.255.255.255", "8.8.8.8")
    )
    header += options
    header[10:12] = checksum(header[: max(20, 4 * words)].ljust(4 * words, b"\0")).to_bytes(2, "big")
    return _ether(chance) + b"\x08\0" + header
