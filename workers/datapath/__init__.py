# SPDX-License-Identifier: MIT
"""Compiled pieces that handle packets: no process, no state of their own."""
