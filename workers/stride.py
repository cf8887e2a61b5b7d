# SPDX-License-Identifier: MIT
"""Stride scheduling over measured time (Waldspurger and Weihl, 1995; the paper, section 3.3.1).

A client is a router's presence on a core. Its pass advances by `ticks used * stride`, stride being
inversely proportional to the router's entitlement, and the client with the least pass runs next: so each
gets CPU time in proportion to its entitlement, whatever its packets cost. Pure functions of state and time.
"""

from __future__ import annotations

from shm.layout import CLIENT, IDLE_PASS, PASS_BITS, STRIDE_BITS
from shm.memory import kernel, load64, store64

_STRIDE, _USED, _OWN, _TURNS = CLIENT["stride"], CLIENT["used_ticks"], CLIENT["own_pass"], CLIENT["turns"]
_JOINS = CLIENT["joins"]


def strides(weights: list[float]) -> list[int]:
    """Return the stride of each weight, in pass per tick, STRIDE_BITS after the point.

    The largest weight gets one pass per tick. A pass keeps PASS_BITS after the point: at 3 GHz, 64 bits last
    130 days, and even a poll of 50 ticks is charged to within a ten-thousandth.
    """
    top = max(weights)
    return [round(top / weight * (1 << STRIDE_BITS)) for weight in weights]


@kernel
def pick(passes, count):
    """Return the index of the least of `count` passes (8 bytes each), -1 where all are idle."""
    best = IDLE_PASS
    for i in range(count):
        value = load64(passes + 8 * i)
        best = value if value < best else best
    if best == IDLE_PASS:
        return -1
    at = 0
    while load64(passes + 8 * at) != best:
        at += 1
    return at


@kernel
def charge(client, slot, ticks):
    """Charge a client for `ticks`; `slot` is the address of its pass."""
    store64(client + _USED, load64(client + _USED) + ticks)
    store64(client + _TURNS, load64(client + _TURNS) + 1)
    if load64(slot) == IDLE_PASS:
        slot = client + _OWN
    store64(slot, load64(slot) + (ticks * load64(client + _STRIDE) >> STRIDE_BITS - PASS_BITS))


@kernel
def join(client, slot, floor):
    """Let an idle client compete again: at its own pass, but not before the least runnable one."""
    own = load64(client + _OWN)
    store64(slot, own if own > floor else floor)
    store64(client + _JOINS, load64(client + _JOINS) + 1)


@kernel
def leave(client, slot):
    """Take a client out of the competition; it keeps its debt."""
    store64(client + _OWN, load64(slot))
    store64(slot, IDLE_PASS)
