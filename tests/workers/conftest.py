# SPDX-License-Identifier: MIT
"""A bench for elements: one router in memory of its own."""

from __future__ import annotations

import pytest

from tests.harness import Bench


@pytest.fixture
def bench():
    """Make benches; each is checked for soundness and removed at the end."""
    made = []

    def make(config, **options):
        made.append(Bench(config, **options))
        return made[-1]

    yield make
    for one in made:
        one.settle()
        one.received()
        one.assert_sound()
        one.close()
