# SPDX-License-Identifier: MIT
"""Shared fixtures: where captures are, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
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


@pytest.fixture(autouse=True)
def nothing_left():
    """No test leaves shared memory behind; what another run left may go meanwhile."""
    before = segments()
    yield
    assert set(segments()) <= set(before)
