# SPDX-License-Identifier: MIT
"""Everything that runs inside a core or a wire: elements, paths, scheduling, NICs, links."""
