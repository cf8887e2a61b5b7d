# SPDX-License-Identifier: MIT
"""Memory shared between processes: layouts, segments, atomics, rings, buffers, counters."""
