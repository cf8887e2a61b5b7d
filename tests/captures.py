# SPDX-License-Identifier: MIT
"""Captures as tests read them: whole."""

from __future__ import annotations

from workers.wire.capture_reader import Findings, read_records


def read_capture(path):
    """Return all frames of a capture as records."""
    return list(read_records(path, Findings()))
