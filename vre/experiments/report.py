# SPDX-License-Identifier: MIT
"""Files of an experiment: a plot (PNG, SVG) and the samples it was made from (CSV, JSON)."""

from __future__ import annotations

import csv
import json
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vre import __version__
from vre.errors import PlatformError
from vre.experiments.outcome import Outcome


def write(folder: Path, name: str, module: Any, outcomes: list[Outcome], quick: bool) -> Iterator[Path]:
    """Write all files of an experiment into a folder; yield their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        stem = folder / f"{name}-{outcome.setting}"
        data = outcome.as_dict() | {"experiment": name, "title": module.TITLE, "quick": quick, "made": origin()}
        stem.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
        yield stem.with_suffix(".json")
        with stem.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, sorted({key for sample in outcome.samples for key in sample}))
            writer.writeheader()
            writer.writerows(outcome.samples)
        yield stem.with_suffix(".csv")
        yield from _plot(stem, module, outcome)


def require_matplotlib() -> None:
    """Raise PlatformError if plots cannot be made here: said before anything is measured."""
    try:
        import matplotlib
    except ImportError as error:
        why = "plots need matplotlib: install 'vre[plots]', or leave --out away"
        raise PlatformError(f"{why} ({error})") from None
    matplotlib.use("Agg")


def _plot(stem: Path, module: Any, outcome: Outcome) -> Iterator[Path]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for label, points in outcome.curves.items():
        xs, ys, spreads = zip(*sorted(points), strict=True)
        axes.errorbar(xs, ys, yerr=spreads, marker="o", markersize=3, capsize=2, label=label)
    axes.set_xlabel(outcome.x)
    axes.set_ylabel(outcome.y)
    axes.set_ylim(bottom=0)
    axes.set_title(f"{module.TITLE.split(' (')[0]}\n{outcome.setting}", fontsize=9)
    axes.legend(fontsize=8)
    for suffix in (".png", ".svg"):
        figure.savefig(stem.with_suffix(suffix), dpi=150)
        yield stem.with_suffix(suffix)
    pyplot.close(figure)


def origin() -> dict[str, str]:
    """Return what figures were made with: version, commit, host."""
    here = Path(__file__).resolve().parent
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "version": __version__,
        "commit": done.stdout.strip(),
        "host": platform.platform(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
