# SPDX-License-Identifier: MIT
"""What runs: start, change, ask, account, end."""
