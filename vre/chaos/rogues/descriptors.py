# SPDX-License-Identifier: MIT
"""bomb: opens files until it may not"""

import os

from trigger import Rogue


class Attack(Rogue):
    """opens files until it may not"""

    def attack(self, packet):
        try:
            self.__dict__.setdefault("files", []).append(os.open("/", os.O_RDONLY))
        except OSError:
            pass
