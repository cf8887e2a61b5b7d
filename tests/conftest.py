# SPDX-License-Identifier: MIT
"""Shared fixtures: where captures are, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path

import pytest

os.environ.setdefault("VRE_RUN", f"/tmp/vre-test-{os.geteuid()}")

# A shell that runs the tests in the background lets them inherit that Ctrl-C is ignored; commands shall not.
signal.signal(signal.SIGINT, signal.default_int_handler)

PCAPS = Path(os.environ.get("VRE_PCAPS", Path(__file__).resolve().parents[2] / "shared" / "pcaps"))


def segments():
    """Return the names of all segments of this user in /dev/shm."""
    return sorted(p.name for p in Path("/dev/shm").glob(f"vre.{os.geteuid()}.*"))


@pytest.fixture(scope="session")
def pcaps():
    """The folder of captures of real traffic."""
    if not PCAPS.is_dir():
        pytest.skip(f"no captures: {PCAPS} is not there (set VRE_PCAPS)")
    return PCAPS


@pytest.fixture(scope="session")
def tried_tier():
    """Return what came of trying a tier of jail: tried once, and by the first test that asks."""
    from vre.domu.tiers import try_tier

    return cache(try_tier)


@pytest.fixture(scope="session")
def strict_jail(tried_tier):
    """Skip what needs a strict jail if this host gives none."""
    tried = tried_tier("strict")
    if tried.error or tried.possible:
        pytest.skip(f"this host gives no strict jail: {tried.error or tried.possible}")


@pytest.fixture(scope="session")
def cpu_groups(tmp_path_factory):
    """Skip what needs control groups if this user may make none."""
    from vre.domu.cgroups import Groups

    groups = Groups("try", tmp_path_factory.mktemp("groups") / "groups")
    groups.close()
    if "cpu" not in groups.controllers:
        pytest.skip("needs control groups that this user may make")


@pytest.fixture(autouse=True)
def nothing_left():
    """No test leaves shared memory behind; what another run left may go meanwhile."""
    before = segments()
    yield
    assert set(segments()) <= set(before)
