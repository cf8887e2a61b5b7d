# SPDX-License-Identifier: MIT
"""Records of impaired links: what a link does to frames, and the delay line in which they wait for their due time.

As in :mod:`shm.layout`, each field has one writer. What a batch of frames changes of a link is in one LINK_STATE of
two, and takes effect with one store, of `state`: a wire that is killed leaves a link before a batch or after it.
"""

from __future__ import annotations

from shm.layout import APART, LINE, Layout

#: A direction of a link that may be impaired.
IMPAIRMENT = Layout(
    "impairment",
    {
        "seed": ("i8", 0),  # set once: 31 random bits
        "salt": "i8",  # set once: 31 more
        "clock": "i8",  # set once: address of the clock that due times are of, 0: wall
        "claims": "i8",  # set once: CLAIMS at the far end, 0 if frames end there
        "capture": "i8",  # set once: address of a CAPTURE at the far end, or 0
        "device": "i8",  # set once: address of the DEVICE at the far end, or 0
        "states": "i8",  # set once: address of the two LINK_STATEs, one behind the other
        "settings": "i8",  # supervisor: address of the LINK_SETTINGS in force; 0 as long as it has never been impaired
        "state": ("i8", APART),  # wire: address of the LINK_STATE in force
        "open": "i8",  # wire: 1 while a batch has begun and not taken effect
        "line": "i8",  # wire: the DELAY_LINE in use; 0 if none yet
        "count": "i8",  # wire: keys in its heap; follows from its entries and the state
    },
    size=2 * APART,
)

#: What a link does to frames. Chances and correlations are in 1 / 2**CHANCE_BITS; times in ns.
LINK_SETTINGS = Layout(
    "link_settings",
    {
        "line": "i8",  # the DELAY_LINE that is to be in use
        "limit": "i8",  # frames that may wait
        "delay": "i8",
        "jitter": "i8",
        "table": "i8",  # address of the distribution's inverse: TABLE_SIZE + 1 words, SAMPLE_BITS after the point
        "correlation": "i8",
        "loss": "i8",  # chance of a loss; where `recovery` is not 0, of going from the good state to the bad one
        "loss_correlation": "i8",
        "recovery": "i8",  # Gilbert-Elliott: chance of going from the bad state to the good one
        "loss_good": "i8",  # chance of a loss in the good state
        "loss_bad": "i8",  # chance of a loss in the bad state
        "duplicate": "i8",
        "duplicate_correlation": "i8",
        "reorder": "i8",
        "reorder_correlation": "i8",
        "gap": "i8",  # each `gap`-th frame at most is reordered
        "corrupt": "i8",
        "corrupt_correlation": "i8",
        "byte_time": "i8",  # time a byte takes, in 1 / 2**LINK_BITS ns; 0: no limit
        "burst_ns": "i8",  # token bucket: the time that its bytes take
        "overhead": "i8",  # bytes of a frame besides its own, may be negative
    },
    size=2 * APART,
)
CHANCE_BITS, SAMPLE_BITS = 32, 16
TABLE_BITS = 10
TABLE_SIZE = 1 << TABLE_BITS

#: What a link has done, and what it remembers for the next frame. Written by the wire.
LINK_STATE = Layout(
    "link_state",
    {
        "batch": "i8",  # batches that have taken effect
        "order": "i8",  # frames that have been put into the delay line
        "frames": "i8",  # frames that came; also the place in the sequence of random numbers
        "bytes": "i8",
        "sample": "i8",  # the last one of jitter, SAMPLE_BITS after the point
        "losing": "i8",  # whether the last frame was lost; likewise below
        "duplicating": "i8",
        "reordering": "i8",
        "corrupting": "i8",
        "bad": "i8",  # Gilbert-Elliott: 1 in the bad state
        "passed": "i8",  # frames since the last one that was reordered
        "free": "i8",  # clock in ns when the frame being sent is through
        "part": "i8",  # the fraction of that, in the unit of byte_time
        "lost": "i8",
        "over_limit": "i8",  # frames for which the delay line, or any buffer of it, had no room
        "duplicated": "i8",
        "reordered": "i8",
        "corrupted": "i8",
        "delayed": "i8",
        "arrived": "i8",
        "arrived_bytes": "i8",
        "unclaimed": "i8",  # of those that arrived: for no router
        "stray": "i8",  # destination MAC of the last of them, as an integer
    },
    size=2 * APART,
)

#: Memory for frames that wait: a heap of keys over entries with a buffer each.
DELAY_LINE = Layout(
    "delay_line",
    {
        "capacity": "i8",  # set once: entries
        "keys": "i8",  # set once: address of KEYs, one an entry: those in the heap, then those of free entries
        "entries": "i8",  # set once: address of WAITING records
        "buffers": "i8",  # set once: address of buffers, each as long as the longest frame
    },
    size=LINE,
)
#: The next frame to leave is the least key: by due time, then in the order in which frames came.
KEY = Layout("key", {"due": "i8", "order": "i8", "entry": "i8"}, size=24)

#: A frame in a delay line. It is there if `order` has taken effect and `left` has not.
WAITING = Layout(
    "waiting",
    {
        "order": "i8",
        "left": "i8",  # the batch in which it left, 0: it has not
        "due": "i8",
        "length": "i8",
        "claim": "i8",  # address of the CLAIM that it is for, 0: found out when it arrives
        "serial": "i8",  # that claim's
    },
    size=LINE,
)
