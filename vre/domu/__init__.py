# SPDX-License-Identifier: MIT
"""One router's sandbox, as dom0 sees it."""
