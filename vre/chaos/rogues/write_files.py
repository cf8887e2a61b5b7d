# SPDX-License-Identifier: MIT
"""files: writes wherever it might"""

import os

from trigger import Rogue


class Attack(Rogue):
    """writes wherever it might"""

    def attack(self, packet):
        for path in ("/", "/tmp", "/element", "/dev/shm", "/usr/lib", "/run"):
            try:
                os.open(f"{path}/rogue", os.O_WRONLY | os.O_CREAT)
            except OSError:
                continue
            os._exit(99)
