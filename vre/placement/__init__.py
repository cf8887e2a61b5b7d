# SPDX-License-Identifier: MIT
"""Step 1: which path runs on which core (the paper, section 3.1). Pure functions."""
