# SPDX-License-Identifier: MIT
"""What a running domU is ended for, by what dom0 has seen of it, on a logical clock."""

from types import SimpleNamespace

import numpy as np
import pytest

from vre.domu.judgement import BAD_RETURNS, judge
from vre.domu.policy import HOSTILE, HUNG, Loans
from vre.domu.process import Seen
from vre.supervision.progress import Progress

FINE = Seen(hostile=False, owed=False, untaken=False, mark=0, refused=0)


@pytest.fixture
def domu():
    made = SimpleNamespace(
        progress=Progress(0.05), loans=Loans(0.05), faults_at=0.0, faults_seen=0, held_up_s=0.0, sight=FINE
    )
    made.seen, made.slots = lambda: made.sight, lambda: np.empty(0, np.int64)
    return made


def test_one_that_owes_nothing_goes_on(domu):
    assert all(judge(domu, now, now) is None for now in (0.0, 1.0, 100.0))


def test_an_impossible_index_is_hostile(domu):
    domu.sight = FINE._replace(hostile=True)
    assert judge(domu, 0.0, 0.0)[0] == HOSTILE


def test_refused_returns_are_counted_by_the_second(domu):
    domu.sight = FINE._replace(refused=BAD_RETURNS)
    assert judge(domu, 0.5, 0.5) is None
    domu.sight = FINE._replace(refused=2 * BAD_RETURNS)
    assert judge(domu, 1.5, 1.5) is None, "another second has begun"
    domu.sight = FINE._replace(refused=3 * BAD_RETURNS + 1)
    assert judge(domu, 2.0, 2.0)[0] == HOSTILE


def test_a_deadline_counts_while_the_platform_looks(domu):
    domu.sight = FINE._replace(owed=True)
    assert judge(domu, 0.0, 0.0) is None
    assert judge(domu, 9.0, 0.01) is None, "it was frozen for nine seconds"
    assert judge(domu, 9.1, 0.11) == (HUNG, "returned nothing for 110 ms")
