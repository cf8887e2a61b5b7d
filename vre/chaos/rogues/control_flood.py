# SPDX-License-Identifier: MIT
"""flood: sends the platform messages without end, none of which means anything"""

import os
import random

from trigger import Rogue


class Attack(Rogue):
    """sends the platform messages without end, none of which means anything"""

    def attack(self, packet):
        for _ in range(200):
            os.write(3, random.randbytes(random.randrange(1, 6000)))
