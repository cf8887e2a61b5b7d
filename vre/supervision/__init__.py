# SPDX-License-Identifier: MIT
"""Processes kept alive, watched, and their output."""
