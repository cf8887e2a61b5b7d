# SPDX-License-Identifier: MIT
"""Write the golden files anew; `git diff` shows what has changed."""

from tests.golden import renew

renew()
