# SPDX-License-Identifier: MIT
"""Draw the README's plot and write its result section, both from the recorded run in `benchmarks/recorded/`.

To record another run: `vre experiment fig7 --setting modelled --out benchmarks/recorded`, then keep the JSON file
only and run `python benchmarks/figure.py`.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "recorded" / "fig7-modelled.json"
PLOT = RECORDED.with_suffix(".svg")
README = HERE.parent / "README.md"
BEGIN, END = (f"<!-- written by benchmarks/figure.py: {what} -->\n" for what in ("begin", "end"))
#: Discipline to what its panel and its row are called.
NAMES = {"stride": "`stride` (Click's)", "measured": "`measured`", "exact": "`exact` (default)"}


def section(run: dict[str, Any]) -> str:
    """Return the README's lines about a run."""
    passed = sum(c["pass"] for c in run["criteria"])
    intro = (
        "Three paths of equal entitlement share one overloaded core; path 1's packets cost 1.4 times as much as the "
        f"others' (the paper's figure 7, in the {run['setting']} setting: virtual time on a model of its box; "
        f"{passed} of {len(run['criteria'])} criteria hold). If every turn costs the same, the expensive path takes "
        "more than its third of the CPU. If turns are charged what they cost, each path gets a third."
    )
    rows = ["| turns are charged by | CPU of paths 1, 2, 3 | Mp/s of paths 1, 2, 3 |", "| --- | --- | --- |"]
    for discipline, name in NAMES.items():
        mine = [row for row in run["rows"] if row["discipline"] == discipline]
        shares = " / ".join(f"{row['share of CPU']:.1%}".replace("%", "") for row in mine)
        rates = " / ".join(f"{row['Mp/s']:.3f}" for row in mine)
        rows.append(f"| {name} | {shares} % | {rates} |")
    plot = f"![Forwarded against offered packets of three paths]({PLOT.relative_to(README.parent)})"
    return "\n".join([textwrap.fill(intro, 100), "", *rows, "", plot]) + "\n"


def with_section(text: str, run: dict[str, Any]) -> str:
    """Return the README's text with its result section replaced."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + section(run) + END + rest.split(END)[1]


def draw(run: dict[str, Any], file: Path) -> None:
    """Draw one panel per discipline: forwarded against offered packets of each path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # The same run gives the same file.
    matplotlib.rcParams["svg.hashsalt"] = "vre"
    figure, panels = pyplot.subplots(1, len(NAMES), figsize=(9, 3), layout="constrained", sharey=True)
    for axes, (discipline, name) in zip(panels, NAMES.items(), strict=True):
        for curve, points in run["curves"].items():
            path, _, of = curve.partition(", ")
            if of == discipline:
                xs, ys = zip(*((x, y) for x, y, _ in points), strict=True)
                # Paths 2 and 3 lie on each other.
                axes.plot(xs, ys, "o--" if path == "path3" else "o-", markersize=3, label=path)
        axes.set_title(name.replace("`", ""), fontsize=9)
        axes.set_xlabel(run["x"])
    panels[0].set_ylabel(run["y"])
    panels[0].set_ylim(bottom=0)
    panels[0].legend(fontsize=8)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    recorded = json.loads(RECORDED.read_text())
    draw(recorded, PLOT)
    README.write_text(with_section(README.read_text(), recorded))
