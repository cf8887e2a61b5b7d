# SPDX-License-Identifier: MIT
"""Recovery of a dead wire: what it was doing for a link is completed, or taken back and done again by the next wire.

See :mod:`workers.datapath.wire_transaction`. Recovery itself may be cut off and repeated.
"""

from __future__ import annotations

from shm.intrinsics import load64
from shm.layout import COMMITTING
from shm.wire_layout import WIRE
from workers.datapath.wire_transaction import carry_out, forget, take_back


def recover_wire(wire: int) -> None:
    """Restore what a dead wire has left to a state between two transactions; no wire may run.

    Parameters
    ----------
    wire : int
        Address of its record.
    """
    if load64(wire + WIRE["stage"]) == COMMITTING:
        carry_out(wire)
        forget(wire)
    else:
        take_back(wire)
