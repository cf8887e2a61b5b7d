# SPDX-License-Identifier: MIT
"""Keeping processes alive, watching them, and what they have to say."""
