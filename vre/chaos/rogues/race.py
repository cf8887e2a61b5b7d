# SPDX-License-Identifier: MIT
"""race: rewrites returns and packets while dom0 reads them"""

import threading

from trigger import Rogue, words


class Attack(Rogue):
    """rewrites returns and packets while dom0 reads them"""

    def attack(self, packet):
        crossing = packet._stage.crossing
        if not self.__dict__.get("racing"):
            self.racing = True
            threading.Thread(target=self.flip, args=(crossing,), daemon=True).start()

    def flip(self, crossing):
        ring, slots = words(crossing, 128, 1024), words(crossing, 12288, 4096)
        while True:
            for i in range(1024):
                ring[i] ^= 0xFFFF << 32
                slots[i] = ~slots[i]
