# SPDX-License-Identifier: MIT
"""Fault injection: rogues in a router of their own, and faults of the host."""
