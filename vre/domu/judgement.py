# SPDX-License-Identifier: MIT
"""Whether a running domU must be ended, by what dom0 has seen of it: verdicts, refused returns, packets kept."""

from __future__ import annotations

from vre.domu.policy import HOSTILE, HUNG, Loans
from vre.domu.process import DomuProcess

#: Returns that may be refused in a second before the domU counts as hostile.
BAD_RETURNS = 1000


def judge(domu: DomuProcess, now: float, watched: float) -> tuple[str, str] | None:
    """Return the event that a domU is to be ended for and why, None if it may go on.

    Parameters
    ----------
    domu : DomuProcess
        What has been seen of it is noted there.
    now : float
        Seconds, of any steady clock.
    watched : float
        Seconds in which the platform looked: after a platform was frozen no domU is late.
    """
    seen = domu.seen()
    if seen.hostile:
        return HOSTILE, "set a ring index that no producer can have reached"
    if now - domu.faults_at >= 1 or seen.refused < domu.faults_seen:
        domu.faults_at, domu.faults_seen = now, seen.refused
    elif seen.refused - domu.faults_seen > BAD_RETURNS:
        return HOSTILE, f"returned more than {BAD_RETURNS} packets a second that it did not have"
    if domu.progress.hung(seen.owed, seen.mark, watched, domu.held_up_s, seen.untaken):
        return HUNG, f"returned nothing for {(watched - domu.progress.since) * 1e3:.0f} ms"
    if domu.loans.overdue(domu.slots, watched, domu.held_up_s):
        return HUNG, f"held packets for longer than {Loans.MOST * domu.progress.deadline:g} s"
    return None
