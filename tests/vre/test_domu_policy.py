# SPDX-License-Identifier: MIT
"""What becomes of a domU, as a pure state machine on a logical clock."""

from __future__ import annotations

import pytest

from vre.domu.policy import (
    DIED,
    DUE,
    ENDED,
    HOSTILE,
    HUNG,
    MAX_RESTARTS,
    OVERDUE,
    QUARANTINED,
    READY,
    RELEASED,
    RUNNING,
    STARTING,
    STOP,
    IllegalTransition,
    Policy,
)
from vre.supervision.progress import Progress


@pytest.mark.parametrize("state", [STARTING, RUNNING, QUARANTINED, ENDED])
@pytest.mark.parametrize("event", [READY, DIED, HUNG, HOSTILE, DUE, RELEASED, STOP])
def test_the_table_of_transitions_is_complete(state, event):
    legal = {
        STARTING: {READY: RUNNING, DIED: STARTING, HUNG: STARTING, HOSTILE: QUARANTINED, STOP: ENDED},
        RUNNING: {DIED: STARTING, HUNG: STARTING, HOSTILE: QUARANTINED, STOP: ENDED},
        QUARANTINED: {DUE: STARTING, RELEASED: STARTING, STOP: ENDED},
        ENDED: {},
    }
    policy = Policy(state=state)
    if event in legal[state]:
        assert policy.on(event, 1.0) == legal[state][event]
    else:
        with pytest.raises(IllegalTransition):
            policy.on(event, 1.0)


def test_quarantine_lasts_longer_each_time():
    policy, now, lengths = Policy(), 0.0, []
    for _ in range(4):
        while policy.state != QUARANTINED:
            policy.on(DIED, now)
        lengths.append(policy.until - now)
        now = policy.until
        policy.on(DUE, now)
    assert lengths == [5.0, 10.0, 20.0, 40.0]


def test_one_that_is_never_ready_is_quarantined_however_long_each_start_takes():
    policy, now = Policy(), 0.0
    for _ in range(MAX_RESTARTS):
        now += 20
        assert policy.on(OVERDUE, now) == STARTING
    assert policy.on(OVERDUE, now + 20) == QUARANTINED
    policy.on(DUE, now + 30)
    assert [policy.on(OVERDUE, now + 50), policy.on(READY, now + 51)] == [STARTING, RUNNING]
    for _ in range(2 * MAX_RESTARTS):
        now += 1000
        assert [policy.on(DIED, now), policy.on(READY, now + 20)] == [STARTING, RUNNING]


def test_waiting_for_a_processor_is_not_hanging_but_not_for_ever():
    progress = Progress(0.05)
    assert not progress.hung(True, 7, 0.0, 0.0)
    assert not progress.hung(True, 7, 0.5, 0.48)
    assert progress.hung(True, 7, 0.5, 0.4)
    assert progress.hung(True, 7, 1.1, 1.09)
    assert not progress.hung(True, 8, 2.0, 1.5)
    assert not progress.hung(False, 8, 9.0, 1.5)
