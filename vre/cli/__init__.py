# SPDX-License-Identifier: MIT
"""The command line. Each command imports what it needs when it runs: `vre check` never imports Numba."""
