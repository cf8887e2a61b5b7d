# SPDX-License-Identifier: MIT
"""The paper's experiments, each in two settings: measured on this host, and modelled on the paper's box.

One module an experiment, with `TITLE`, `SAYS` (what the paper found), `modelled` and `measured`.
"""

from __future__ import annotations

#: Name to module; the order is the paper's.
NAMES = {
    "baseline": "baseline",
    "fig2": "latency",
    "cores": "handover",
    "fig3": "interfaces",
    "fig5": "maxmin",
    "fig6": "weights",
    "fig7": "costs",
    "fig8": "crossing",
    "fig10": "hogs",
}
