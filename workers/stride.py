# SPDX-License-Identifier: MIT
"""Step 2: sharing one core (the paper, section 3.3.1; stride scheduling: Waldspurger and Weihl, 1995).

A client is a router's presence on a core. Each turn advances its pass by `charge * stride`, stride being
inversely proportional to its weight, and the client with the least pass runs next. What a turn is charged is
the discipline's:

| discipline | a turn is charged | weight |
| --- | --- | --- |
| `roundrobin` | the same, always | one for each path |
| `stride` | the same, always | Click's tickets of each path |
| `weighted` | the same, always | the router's entitlement |
| `measured` | packets times the path's sampled cost | the router's entitlement |
| `exact` | the time it took | the router's entitlement |

Over any time in which two clients are backlogged, their charges divided by their weights differ by less than
the sum of one turn's charge over its weight for each: a client runs only while its pass is the least, so it
is ahead of any other by at most its last turn. Pure functions of state and time.
"""

from __future__ import annotations

from shm.layout import CLIENT, IDLE_PASS, MODEL_BITS, PASS_BITS, STRIDE_BITS, TASK
from shm.memory import kernel, load64, store64

DISCIPLINES = ("exact", "measured", "weighted", "stride", "roundrobin")
EXACT, MEASURED = 0, 1
#: What disciplines that count turns charge for one, in ticks: some turn's worth, for the scale of passes.
TURN_CHARGE = 1 << 12
#: A sample so many times above the estimate is taken for a preemption, unless the one before was, too.
OUTLIER = 16
#: The estimate moves towards a sample by a part of 2**EWMA_BITS.
EWMA_BITS = 4

_STRIDE, _USED, _OWN, _TURNS = CLIENT["stride"], CLIENT["used_ticks"], CLIENT["own_pass"], CLIENT["turns"]
_JOINS = CLIENT["joins"]
_COST, _SAMPLES, _OUTLIERS, _SAMPLE_IN = TASK["cost"], TASK["samples"], TASK["outliers"], TASK["sample_in"]


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
def price(discipline, task, elapsed, packets):
    """Return what a turn is charged, in ticks."""
    if discipline == EXACT:
        return elapsed
    if discipline == MEASURED:
        cost = load64(task + _COST)
        if packets and cost:
            return packets * cost >> MODEL_BITS
        # An idle poll, or a path that has not been measured yet.
        return elapsed
    return TURN_CHARGE


@kernel
def sample(task, every, elapsed, packets):
    """Count a turn's packets; where one `every` so many is among them, take its cost into the path's estimate.

    A packet's cost shows when control returns to the scheduler (the paper, section 3.3.1, footnote 3): it is
    its part of what the turn took.
    """
    left = load64(task + _SAMPLE_IN) - packets
    if left > 0:
        store64(task + _SAMPLE_IN, left)
        return
    store64(task + _SAMPLE_IN, every)
    cost, seen = load64(task + _COST), load64(task + _OUTLIERS)
    taken = (elapsed << MODEL_BITS) // packets
    store64(task + _SAMPLES, load64(task + _SAMPLES) + 1)
    if cost and taken > cost * OUTLIER and seen & 1 == 0:
        store64(task + _OUTLIERS, seen + 2 | 1)
        return
    store64(task + _OUTLIERS, seen & ~1)
    if cost == 0:
        store64(task + _COST, taken)
    else:
        store64(task + _COST, cost + ((taken - cost) >> EWMA_BITS))


@kernel
def charge(client, slot, amount, ticks):
    """Charge a client `amount` for a turn of `ticks`; `slot` is the address of its pass."""
    store64(client + _USED, load64(client + _USED) + ticks)
    store64(client + _TURNS, load64(client + _TURNS) + 1)
    if load64(slot) == IDLE_PASS:
        slot = client + _OWN
    store64(slot, load64(slot) + (amount * load64(client + _STRIDE) >> STRIDE_BITS - PASS_BITS))


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
