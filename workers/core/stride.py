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

Ranges, so that nothing overflows however long a core runs: weights of one core may differ by 2**30, from 1e-3 to 1e6;
a client entitled to less counts as that. A turn is charged at most `most` ticks, 2**62 / stride. Passes are moved back
by :data:`REBASE` when the least of them has come so far, and none is further ahead than :data:`FARTHEST`.
"""

from __future__ import annotations

from shm.intrinsics import add64, kernel, load64, store64
from shm.layout import CLIENT, IDLE_PASS, MODEL_BITS, PASS_BITS, STRIDE_BITS, TASK

DISCIPLINES = ("exact", "measured", "weighted", "stride", "roundrobin")
EXACT, MEASURED = 0, 1
#: What disciplines that count turns charge for one, in ticks: some turn's worth, for the scale of passes.
TURN_CHARGE = 1 << 12
#: A sample this many times the estimate counts as a preemption, unless the one before did, too.
OUTLIER = 16
#: Largest stride: the least weight's is 2**30 times the largest's.
STRIDE_MOST = 1 << STRIDE_BITS + 30
#: All passes are moved back by this, once the least is that large: after 17 days at 3 GHz of the largest weight.
REBASE = 1 << 60
#: Largest pass after a charge for work done apart from turns; twice that is far from IDLE_PASS.
FARTHEST = 1 << 61
#: Most that a client may be ahead of the least pass after its stride has grown.
_AHEAD = float(1 << 59)
#: The estimate moves towards a sample by a fraction of 2**-EWMA_BITS.
EWMA_BITS = 4


def strides(weights: list[float]) -> list[int]:
    """Return the stride of each weight, in pass per tick, STRIDE_BITS after the point.

    The largest weight gets one pass per tick. A pass keeps PASS_BITS after the point, so that even a poll of 50 ticks
    is charged to within a ten-thousandth.
    """
    top = max(weights)
    return [round(min(top / weight * (1 << STRIDE_BITS), STRIDE_MOST)) for weight in weights]


@kernel
def most_charged(stride):
    """Return the most that one turn may be charged, in ticks."""
    return (1 << 62) // stride


@kernel
def pick(passes, count):
    """Return the index of the least of `count` passes (8 bytes each), -1 if all are idle."""
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
        cost = load64(task + TASK["cost"])
        if packets and cost:
            return packets * cost >> MODEL_BITS
        # An idle poll, or a path that has not been measured yet.
        return elapsed
    return TURN_CHARGE


@kernel
def sample(task, every, elapsed, packets):
    """Count a turn's packets; if a sampled one, of `every` so many, is among them, update the path's cost estimate.

    A packet's cost is known when control returns to the scheduler (the paper, section 3.3.1, footnote 3): it is
    its fraction of the turn's time.
    """
    left = load64(task + TASK["sample_in"]) - packets
    if left > 0:
        store64(task + TASK["sample_in"], left)
        return
    store64(task + TASK["sample_in"], every)
    cost, seen = load64(task + TASK["cost"]), load64(task + TASK["outliers"])
    taken = (elapsed << MODEL_BITS) // packets
    add64(task + TASK["samples"], 1)
    if cost and taken > cost * OUTLIER and seen & 1 == 0:
        store64(task + TASK["outliers"], seen + 2 | 1)
        return
    store64(task + TASK["outliers"], seen & ~1)
    if cost == 0:
        store64(task + TASK["cost"], taken)
    else:
        store64(task + TASK["cost"], cost + ((taken - cost) >> EWMA_BITS))


@kernel
def charge(client, slot, amount, ticks):
    """Charge a client `amount` for a turn of `ticks`; `slot` is the address of its pass."""
    add64(client + CLIENT["used_ticks"], ticks)
    add64(client + CLIENT["turns"], 1)
    if load64(slot) == IDLE_PASS:
        slot = client + CLIENT["own_pass"]
    size = amount if amount > ticks else ticks
    if size > load64(client + CLIENT["window_turn"]):
        store64(client + CLIENT["window_turn"], size)
    most = load64(client + CLIENT["most"])
    amount = amount if amount < most else most
    add64(slot, amount * load64(client + CLIENT["stride"]) >> STRIDE_BITS - PASS_BITS)


@kernel
def charge_aside(client, slot, ticks):
    """Charge a client for work done apart from its turns, when it may not have had the least pass."""
    charge(client, slot, ticks, ticks)
    at = client + CLIENT["own_pass"] if load64(slot) == IDLE_PASS else slot
    if load64(at) > FARTHEST:
        store64(at, FARTHEST)


@kernel
def move_back(client, slot, rebases):
    """Move a client's passes back with all others' of its core; an idle client that is behind gets 0."""
    own, current = load64(client + CLIENT["own_pass"]) - REBASE, load64(slot)
    store64(client + CLIENT["own_pass"], own if own > 0 else 0)
    if current != IDLE_PASS:
        store64(slot, current - REBASE if current > REBASE else 0)
    # Last: if a worker is killed before this, it is repeated, which forgives a debt, and starves no client.
    store64(client + CLIENT["rebases"], rebases)


@kernel
def adopt(client, slot, floor):
    """Adopt the wanted stride; what the client is ahead of the least pass stays the same, in ticks.

    (Waldspurger and Weihl, section 4.2: a client's remaining pass is scaled with its stride.)
    """
    before, wanted = load64(client + CLIENT["stride"]), load64(client + CLIENT["wanted"])
    at = client + CLIENT["own_pass"] if load64(slot) == IDLE_PASS else slot
    ahead = load64(at) - floor
    if before == 0 or ahead <= 0:
        ahead = 0
    scaled = ahead * (wanted / before) if ahead else 0.0
    scaled = scaled if scaled < _AHEAD else _AHEAD
    # If a worker is killed in between, a debt is forgiven, and none grows.
    if wanted < before and ahead:
        store64(at, floor + int(scaled))
    store64(client + CLIENT["most"], most_charged(wanted))
    store64(client + CLIENT["stride"], wanted)
    if wanted > before and ahead:
        store64(at, floor + int(scaled))


@kernel
def join(client, slot, floor):
    """Let an idle client compete again: at its own pass, but not before the least runnable one."""
    own = load64(client + CLIENT["own_pass"])
    store64(slot, own if own > floor else floor)
    add64(client + CLIENT["joins"], 1)


@kernel
def leave(client, slot):
    """Take a client out of the competition; it keeps its debt."""
    store64(client + CLIENT["own_pass"], load64(slot))
    store64(slot, IDLE_PASS)
