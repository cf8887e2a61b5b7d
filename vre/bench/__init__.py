# SPDX-License-Identifier: MIT
"""Measuring the platform against its own limit."""
