# SPDX-License-Identifier: MIT
"""Memory shared between processes: layouts, segments, atomics, rings, channels, journals, the run directory."""
