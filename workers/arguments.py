# SPDX-License-Identifier: MIT
"""Arguments of elements: their kinds, and how a configuration string is bound to a declaration.

A configuration string is split at commas, honouring quotes and parentheses. Positional arguments come
first, then `KEYWORD value` in any order; an empty last argument is ignored (Click: Args).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from workers.ranges import Range, misfit, shown

#: Default of an argument that must be given.
REQUIRED = object()

_TIME = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_RATE = {"": 1.0, "pps": 1.0, "kpps": 1e3, "mpps": 1e6, "gpps": 1e9, "k": 1e3, "m": 1e6, "g": 1e9}
BITS = {"": 1.0, "bps": 1.0, "kbps": 1e3, "mbps": 1e6, "gbps": 1e9}
#: Longest time, in seconds: 31 years are less than 2**60 ns. Packet rates: from one in 17 minutes to one a nanosecond.
LONGEST_S, RATES = 1e9, (1e-3, 1e9)
#: Digits that a number may have.
_DIGITS = 40
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}


class ArgumentError(ValueError):
    """One wrong argument: `offset` counts characters into the configuration string."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class Argument:
    """One declared argument.

    Attributes
    ----------
    name : str
        Click's keyword. A positional argument may be given by it too.
    kind : callable
        Text to value; raises ValueError that says what would be right.
    default : object
        Value where it is not given; `REQUIRED` where it must be.
    keyword : bool
        Only by keyword.
    rest : bool
        Takes all remaining positional arguments, as a list.
    live : bool
        A handler of its name may write it while the router runs.
    """

    name: str
    kind: Callable[[str], Any]
    default: Any = REQUIRED
    keyword: bool = False
    rest: bool = False
    live: bool = False
    help: str = ""

    @property
    def field(self) -> str:
        """The state field that holds the value, where the element has one of that name."""
        return self.name.lower()


def split(text: str) -> list[tuple[str, int]]:
    """Split a configuration string at its top-level commas.

    Returns
    -------
    list of (str, int)
        Each argument without surrounding blanks and comments, and where it begins in `text`.
    """
    parts: list[tuple[str, int]] = []
    depth, start, i = 0, 0, 0
    while i < len(text):
        c = text[i]
        if c == "\\" and text[i + 1 : i + 2] == "<":
            end = text.find(">", i)
            i = len(text) if end < 0 else end
        elif c in "\"'":
            i = skip_quote(text, i) - 1
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(_trim(text, start, i))
            start = i + 1
        i += 1
    parts.append(_trim(text, start, len(text)))
    if not parts[-1][0]:
        parts.pop()
    return parts


def skip_quote(text: str, i: int) -> int:
    """Return the index behind the quoted string that begins at `i`."""
    quote = text[i]
    i += 1
    while i < len(text) and text[i] != quote:
        i += 2 if text[i] == "\\" and quote == '"' else 1
    return i + 1


def _trim(text: str, start: int, end: int) -> tuple[str, int]:
    part = text[start:end]
    return part.strip(), start + len(part) - len(part.lstrip())


def words(text: str) -> list[str]:
    """Split at blanks outside quotes."""
    return re.findall(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\<[^>]*>|[^\s"'])+""", text)


_DATA = r"\\<(?P<data>[^>]*)(?P<end>>?)"
#: A piece of a Click string: data, a string with escapes, one without, any other character.
_TOKEN = re.compile(_DATA + r"""|"(?P<escaped>(?:\\<[^>]*>|\\.|[^"])*)"?|'(?P<plain>[^']*)'?|(?P<other>.)""", re.DOTALL)
#: A piece of a string with escapes.
_ESCAPED = re.compile(
    _DATA + r"|\\(?:x(?P<hex>[0-9a-fA-F]+)|(?P<octal>[0-7]{1,3})|(?P<code>.))|(?P<other>.)", re.DOTALL
)


def unquote(text: str) -> bytes:
    r"""Return the bytes that a Click string stands for: quotes, C escapes, `\\<hex>` data."""
    return b"".join(map(_meaning, _TOKEN.finditer(text)))


def _meaning(token: re.Match[str]) -> bytes:
    kind = str(token.lastgroup)
    match kind:
        case "end":
            return _hexadecimal(token)
        case "escaped":
            return b"".join(map(_meaning, _ESCAPED.finditer(token[kind])))
        case "hex" | "octal":
            return bytes([int(token[kind], 16 if kind == "hex" else 8) & 0xFF])
        case "code":
            code = token[kind].replace("\n", "")
            return bytes([_ESCAPES[code]]) if code in _ESCAPES else code.encode()
    return token[kind].encode()


def _hexadecimal(token: re.Match[str]) -> bytes:
    if not token["end"]:
        raise ValueError("\\< without >")
    digits = re.sub(r"/\*.*?\*/|//[^\n]*|\s", "", token["data"], flags=re.DOTALL)
    if not re.fullmatch(r"([0-9a-fA-F]{2})*", digits):
        raise ValueError(f"'{digits}' is not pairs of hexadecimal digits")
    return bytes.fromhex(digits)


def string(text: str) -> str:
    """Return a Click string as text."""
    return unquote(text).decode("utf-8", "backslashreplace")


def data(text: str) -> bytes:
    """Return a Click string as bytes."""
    return unquote(text)


def integer(text: str) -> int:
    """Return a decimal, octal (`0…`) or hexadecimal (`0x…`) integer."""
    if len(text) > _DIGITS or not _INTEGER.fullmatch(text):
        raise ValueError(f"'{shown(text)}' is not an integer")
    digits = text.lstrip("+-")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[:1] == "0" and len(digits) > 1 else 10
    return int(text, base)


def between(low: int, high: int) -> Callable[[str], int]:
    """Return a kind: an integer from `low` to `high`."""

    def bounded(text: str) -> int:
        value = integer(text)
        if not low <= value <= high:
            raise ValueError(f"{shown(value)} is not from {low} to {high}")
        return value

    return bounded


def boolean(text: str) -> bool:
    """Return a Click boolean: true, false, yes, no, 1, 0."""
    value = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower())
    if value is None:
        raise ValueError(f"'{shown(text)}' is not a boolean (true or false)")
    return value


def scaled(text: str, units: dict[str, float], what: str, low: float, high: float) -> float:
    """Return a number with one of some units, from `low` to `high`; `what` says what would be right."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)", text, re.ASCII)
    unit = found and found[2].lower()
    if not found or unit not in units or len(text) > _DIGITS:
        raise ValueError(f"'{shown(text)}' is not {what}")
    value = float(found[1]) * units[str(unit)]
    if not low <= value <= high:
        raise ValueError(f"{text} is not from {low:g} to {high:g}: it must be {what}")
    return value


def seconds(text: str) -> float:
    """Return a time in seconds: `1.5`, `10ms`, `2 min`."""
    return scaled(text, _TIME, "a time (as in 10ms, 1.5s or 2min)", 0, LONGEST_S)


def rate(text: str) -> float:
    """Return a packet rate in packets a second: `1000`, `10kpps`, `1.5Mpps`."""
    return scaled(text, _RATE, "a rate (as in 10000, 10kpps or 1.5Mpps)", *RATES)


_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|0*[0-9]{1,2})"
_ADDRESS = re.compile(r"\.".join([_BYTE] * 4), re.ASCII)


def ip(text: str) -> int:
    """Return an IPv4 address as an integer in network order."""
    found = _ADDRESS.fullmatch(text) if len(text) <= _DIGITS else None
    if not found:
        raise ValueError(f"'{shown(text)}' is not an IP address (as in 10.0.0.1)")
    a, b, c, d = (int(part) for part in found.groups())
    return a << 24 | b << 16 | c << 8 | d


def prefix(text: str) -> tuple[int, int]:
    """Return (address, length) of `10.0.0.0/8`, `10/8`, `10.0.0.0/255.0.0.0` or a bare address (32)."""
    address, slash, mask = text.partition("/")
    try:
        if not slash:
            return ip(address), 32
        short = re.fullmatch(r"[0-9]{1,2}", mask, re.ASCII)
        whole = ".".join((address.split(".", 4) + ["0"] * 4)[:4]) if short and address.count(".") < 4 else address
        value = ip(whole)
        if short:
            length = int(mask)
        else:
            bits = ip(mask)
            length = bits.bit_count()
            if bits != mask_of(length):
                raise ValueError
        if length > 32:
            raise ValueError
    except ValueError:
        raise ValueError(f"'{shown(text)}' is not an IP prefix (as in 10.0.0.0/8)") from None
    return value, length


def mask_of(length: int) -> int:
    """Return the netmask of a prefix length."""
    return 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF


def ether(text: str) -> int:
    """Return an Ethernet address, `02:00:00:00:00:01` or with dashes, as an integer."""
    parts = re.split("[:-]", text)
    if len(parts) != 6 or not all(re.fullmatch("[0-9a-fA-F]{1,2}", p) for p in parts):
        raise ValueError(f"'{shown(text)}' is not an Ethernet address (as in 02:00:00:00:00:01)")
    return int("".join(p.zfill(2) for p in parts), 16)


def show_ip(value: int) -> str:
    """Return the dotted form of an address."""
    return ".".join(str(value >> s & 255) for s in (24, 16, 8, 0))


def show_ether(value: int) -> str:
    """Return the colon form of an Ethernet address."""
    return value.to_bytes(6, "big").hex(":")


def bind(
    declared: tuple[Argument, ...], given: list[tuple[str, int]], bounds: Mapping[str, Range] | None = None
) -> tuple[dict[str, Any], list[ArgumentError]]:
    """Match the arguments of one element with its declaration.

    Parameters
    ----------
    declared : tuple of Argument
    given : list of (str, int)
        From :func:`split`.
    bounds : dict, optional
        Field name to least and most: what the element's state can hold.

    Returns
    -------
    values : dict
        Field name to value, defaults filled in.
    errors : list of ArgumentError
        Everything that is wrong, in order of appearance.
    """
    values: dict[str, Any] = {a.field: [] for a in declared if a.rest and not a.keyword}
    errors: list[ArgumentError] = []
    for argument, text, offset in _matched(declared, given, errors):
        try:
            value = argument.kind(text)
            if bounds and argument.field in bounds and (why := misfit(value, bounds[argument.field])):
                raise ArgumentError(why)
        except ValueError as error:
            inner = error.offset if isinstance(error, ArgumentError) else 0
            errors.append(ArgumentError(f"{argument.name}: {error}", offset + inner))
            continue
        if argument.rest:
            values[argument.field].append(value)
        else:
            values[argument.field] = value
    for argument in declared:
        if argument.field in values:
            continue
        if argument.default is not REQUIRED:
            values[argument.field] = argument.default
        elif not any(str(e).startswith(argument.name + ":") for e in errors):
            errors.append(ArgumentError(f"{argument.name} is missing"))
    return values, errors


def _matched(
    declared: tuple[Argument, ...], given: list[tuple[str, int]], errors: list[ArgumentError]
) -> Iterator[tuple[Argument, str, int]]:
    """Yield the argument that each given text is for, its value and where that begins; append an error if none is."""
    by_name = {a.name: a for a in declared}
    positional = [a for a in declared if not a.keyword]
    place, keywords_began = 0, False
    for text, offset in given:
        head, _, tail = text.partition(" ")
        argument = by_name.get(head)
        if argument and (tail or (not argument.rest and (argument.keyword or keywords_began))):
            keywords_began = True
            yield argument, tail.strip(), offset + len(head) + 1
        elif place < len(positional) and not keywords_began:
            yield positional[place], text, offset
            place += not positional[place].rest
        elif re.fullmatch(r"[A-Z][A-Z0-9_]*", head):
            close = get_close_matches(head, by_name, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(by_name) or 'none'}"
            errors.append(ArgumentError(f"no keyword {head}{hint}", offset))
        else:
            errors.append(ArgumentError(f"too many arguments: '{text}' has no place", offset))


#: Kinds that an element's file may name, see :mod:`vre.element`.
KINDS: dict[str, Callable[[str], Any]] = {
    kind.__name__: kind for kind in (boolean, data, ether, integer, ip, prefix, rate, seconds, string)
}
