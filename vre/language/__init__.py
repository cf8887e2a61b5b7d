# SPDX-License-Identifier: MIT
"""The Click language: from text to a checked graph of elements."""
