# SPDX-License-Identifier: MIT
"""signals: kills its parent, and process 1"""

import os

from trigger import Rogue


class Attack(Rogue):
    """kills its parent, and process 1"""

    def attack(self, packet):
        os.kill(os.getppid() or 1, 9)
