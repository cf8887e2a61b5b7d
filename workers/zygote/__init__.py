# SPDX-License-Identifier: MIT
"""Warmed processes that workers, wires and domUs are forked from."""
