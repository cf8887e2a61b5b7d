# SPDX-License-Identifier: MIT
"""crash: ends without a word, as if all were well"""

import os

from trigger import Rogue


class Attack(Rogue):
    """ends without a word, as if all were well"""

    def attack(self, packet):
        os._exit(0)
