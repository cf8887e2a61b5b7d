# SPDX-License-Identifier: MIT
"""The paper's experiments: modelled ones must hold; measured ones run at smoke size, so that they cannot rot."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import pytest

from vre.experiments import NAMES
from vre.experiments.maxmin import fair
from vre.experiments.outcome import Outcome, at_least, at_most, near
from vre.experiments.precondition import LEAST
from vre.experiments.setup import FULL, MEASURED, Flow, _part, platform, progress, window
from vre.platform.accounts import jain


@pytest.mark.parametrize("name", NAMES)
def test_the_modelled_experiment_shows_what_the_paper_shows(name):
    outcome = import_module(f"vre.experiments.{NAMES[name]}").modelled(True)
    assert outcome.rows and outcome.samples and outcome.curves
    assert [c for c in outcome.criteria if not c.passed] == []


def test_the_command_prints_criteria_and_writes_files(tmp_path):
    command = [sys.executable, "-m", "vre", "experiment", "cores", "--quick", "--json", "--out", str(tmp_path)]
    done = subprocess.run([*command, "--setting", "modelled"], capture_output=True, text=True)
    data = json.loads(done.stdout)
    assert (data["experiment"], data["setting"], data["pass"]) == ("cores", "modelled", True)
    assert {"name", "value", "bound", "pass"} == set(data["criteria"][0])
    assert done.returncode == 0
    made = {file.name for file in tmp_path.iterdir()}
    assert made == {f"cores-modelled{suffix}" for suffix in (".json", ".csv", ".png", ".svg")}
    assert (tmp_path / "cores-modelled.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "cores-modelled.json").read_text())["samples"]


def test_without_matplotlib_plots_are_refused_before_anything_is_measured(tmp_path):
    script = "import sys; sys.modules['matplotlib'] = None; from vre.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "experiment", "cores", "--quick"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 2 and "install 'vre[plots]', or leave --out away" in done.stderr, done.stderr
    assert done.stdout == "" and not (tmp_path / "out").exists()


def test_a_measured_experiment_runs_and_accounts_for_every_packet():
    import_module("vre.experiments.handover").measured(True)


@pytest.mark.slow
def test_figure_3_judges_shares_only_while_packets_wait_for_both_paths():
    outcome = import_module("vre.experiments.interfaces").measured(True)
    last = [s for s in outcome.samples if s["queues"] == "multi" and s["load"] > 2][-6:]
    assert outcome.unjudged or min(sample["backlogged"] for sample in last) >= LEAST


def test_criteria_can_fail():
    outcome = Outcome("x", criteria=[near("a", 1.0, 1.0, 0.01), at_most("b", 2.0, 1.0), at_least("c", 0.5, 1.0)])
    assert [c.passed for c in outcome.criteria] == [True, False, False] and not outcome.passed


def test_fairness_measures():
    assert fair(10, {"a": 1, "b": 20, "c": 20}) == pytest.approx({"a": 1, "b": 4.5, "c": 4.5})
    assert jain([0.5, 0.25, 0.25], [2, 1, 1]) == pytest.approx(1)
    assert jain([1, 0, 0], [1, 1, 1]) == pytest.approx(1 / 3)


@pytest.mark.slow
def test_eight_paths_of_very_different_costs_get_what_they_are_entitled_to():
    light = "FromDevice({0}) -> Strip(14) -> EXTRA CheckIPHeader -> DecIPTTL" \
        " -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> Queue(1000) -> ToDevice({1});"  # fmt: skip
    extras, weights = (0, 1, 3, 6, 12, 25, 50, 50), (2, 3, 1, 5, 5, 2, 1, 1)
    paths = [
        Flow(f"p{i}", light.replace("EXTRA", "CheckIPHeader -> " * n), weight)
        for i, (n, weight) in enumerate(zip(extras, weights, strict=True))
    ]
    with platform(MEASURED, paths) as box:
        box.tend(1)
        found = window(box, 3)
    entitled = [weight / sum(weights) for weight in weights]
    shares = [found[path.name].share for path in paths]
    assert max(abs(share / part - 1) for share, part in zip(shares, entitled, strict=True)) <= 0.01
    assert jain(shares, entitled) >= 0.999


def test_progress_counts_from_the_start_and_no_part_is_more_than_the_whole():
    said = []
    token = progress.set(said.append)
    try:
        with platform("modelled", [Flow("a", FULL)]) as box:
            # As a host's clock does, which began when the host did.
            box._events._began -= 5.0
            window(box, 0.01)
    finally:
        progress.reset(token)
    assert said[-1] == "at 5.0 s: 0.01 s are measured"
    assert (_part(500_000_000, 1.0), _part(1_058_000_000, 1.0)) == (0.5, 1.0)


def test_paths_are_made_more_expensive_until_they_are_contested_or_nothing_is_judged():
    from vre.experiments import precondition

    def box_of(rate):
        return platform("modelled", [Flow(name, precondition.with_work(FULL), rate=rate) for name in "ab"])

    outcome = Outcome("x")
    with box_of(3e6) as box:
        precondition.overload(box, "ab", 0.01, outcome)
        assert len(precondition.contested(box, 0.01, 2, outcome)) == 2
    assert not outcome.unjudged and "packets waiting" in outcome.notes[0]
    with box_of(1000) as box:
        assert precondition.contested(box, 0.01, 2, outcome) == []
    assert "only 0 of 6 windows" in outcome.unjudged and not outcome.passed
