# SPDX-License-Identifier: MIT
"""bomb: starts threads that never stop"""

import threading

from trigger import Rogue


class Attack(Rogue):
    """starts threads that never stop"""

    def attack(self, packet):
        def spin():
            while True:
                pass

        try:
            for _ in range(50):
                threading.Thread(target=spin, daemon=True).start()
        except RuntimeError:
            pass
