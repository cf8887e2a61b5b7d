# SPDX-License-Identifier: MIT
"""An entry point that cannot be loaded is named, and stops nobody."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest
from click.testing import CliRunner

from vre.cli import main
from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source
from workers import element

GOOD = "from vre.element import Element\nclass Good(Element):\n    '''Passes.'''\n    @staticmethod\n    def process(state, packet):\n        return 0\n"
BROKEN = {
    "gone": None,
    "raises": "raise RuntimeError('no \\x1b[31m licence')",
    "syntax": "def (",
    "leaves": "import sys; sys.exit(3)",
    "needs": "import a_package_that_is_not_there",
    "hangs": "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except Exception:\n        pass",
    "state": "from vre.element import Element\nclass Bad(Element):\n    state = {'x': 'i7'}\n",
    "ports": "from vre.element import Element\nclass Bad(Element):\n    ports = 'one/two'\n",
    "clones": "from vre.element import Element\nfrom workers.datapath.packet import CLONE\n"
    "class Bad(Element):\n    @staticmethod\n    def process(state, packet):\n        return CLONE + 1\n",
}


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Publish modules as entry points, and load the registry anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(element, "REGISTRY", {})
    monkeypatch.setattr(element, "BROKEN", {})
    monkeypatch.setattr(element, "IMPORT_S", 0.3)
    points = []
    for name, text in {**BROKEN, "good": GOOD}.items():
        if text is not None:
            (tmp_path / f"plugged_{name}.py").write_text(text)
        points.append(EntryPoint(name, f"plugged_{name}", "vre.elements"))
    monkeypatch.setattr(element, "entry_points", lambda group: points)
    yield element
    for name in [name for name in sys.modules if name.startswith("plugged_")]:
        del sys.modules[name]


def test_a_plugin_that_cannot_be_loaded_is_noted_and_the_others_are_there(plugins):
    registry = plugins.load()
    assert {"Good", "Counter"} <= set(registry) and "Bad" not in registry
    assert {name.split()[0] for name in plugins.BROKEN} == set(BROKEN)
    assert all(why.isprintable() for why in plugins.BROKEN.values())
    assert "it was not imported within 0.3 s" in plugins.BROKEN["hangs (plugged_hangs)"]
    assert plugins.BROKEN["clones (plugged_clones)"].startswith("ValueError: Bad: its process names CLONE: declare")
    check(Source("FromDevice(eth0) -> Counter -> Discard;", "x.click"))


def test_who_uses_what_is_missing_is_told_why(plugins, monkeypatch):
    from vre.language import flatten

    monkeypatch.setattr(flatten, "BROKEN", plugins.BROKEN)
    with pytest.raises(ConfigError, match=r"unknown element class 'Bad'.*could not be loaded: gone \(plugged_gone\)"):
        check(Source("FromDevice(eth0) -> Bad -> Discard;", "x.click"))


def test_the_command_line_names_it(plugins, monkeypatch, capsys):
    from vre.cli.elements import elements

    monkeypatch.delitem(sys.modules, "vre.platform.platform", raising=False)
    done = CliRunner().invoke(elements, [])
    assert done.exit_code == 0 and "Counter" in done.output
    main._warn_of_plugins()
    said = capsys.readouterr().err
    assert said.count("warning: the elements of plug-in") == len(BROKEN) and "raises (plugged_raises)" in said
