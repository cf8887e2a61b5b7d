# SPDX-License-Identifier: MIT
"""From a model to shared memory: segments, rings, states, and the manifest that says where they are."""
