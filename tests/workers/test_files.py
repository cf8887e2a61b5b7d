# SPDX-License-Identifier: MIT
"""Files that configurations name: whatever they lead to, opening them ends at once, and says what is wrong."""

from __future__ import annotations

import os
import sys

import pytest

from tests.captures import read_capture
from vre.config.reader import from_text, load_model
from vre.errors import ConfigError
from workers import files
from workers.domu.outline import outline
from workers.domu.sources import Shelf, read_folder
from workers.wire.capture_reader import CaptureError

GOOD = "class X:\n    def push(self, packet):\n        pass\n"


def endless(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)


STRANGE = {
    "a FIFO": (os.mkfifo, "not a regular file"),
    "a link": (lambda path: path.symlink_to("/etc/shadow"), "a link"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a link"),
    "a folder": (lambda path: path.mkdir(), "a folder"),
    "endless": (endless, "more than"),
    "nothing": (lambda path: None, "No such file"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe\0x"), "not text|not Python"),
}


@pytest.fixture(params=STRANGE)
def strange(request):
    return STRANGE[request.param]


def test_an_elements_file_is_a_regular_one(tmp_path, strange):
    make, said = strange
    make(tmp_path / "x.py")
    with pytest.raises(ConfigError, match=said):
        from_text("Idle -> Untrusted(x.py:X) -> Discard;", str(tmp_path / "lab.click"))


def test_a_configuration_a_library_and_a_capture_are_regular_files(tmp_path, strange):
    make, said = strange
    make(tmp_path / "x.click")
    (tmp_path / "lab.toml").write_text('[nics.eth0]\n[routers.red]\nconfig = "x.click"\n')
    with pytest.raises(ConfigError, match=said):
        load_model(tmp_path / "lab.toml")
    with pytest.raises(ConfigError, match=f"{said}|no library"):
        from_text("require(library x.click); Idle -> Discard;", str(tmp_path / "lab.click"))
    if "text" not in said and "more" not in said:
        with pytest.raises(CaptureError, match=said):
            read_capture(tmp_path / "x.click")


def test_a_file_may_be_neither_a_link_nor_below_one(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x.py").write_text(GOOD)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to("../there")
    assert files.read_file(files.place("../there/x.py", tmp_path / "here"), 100) == GOOD.encode()
    for name in ("link/x.py", "../here/link/x.py"):
        with pytest.raises(OSError, match="links are not followed"):
            files.read_file(files.place(name, tmp_path / "here"), 100)
    # The folder that the configuration itself is in may be reached by one: that is the user's own.
    assert files.read_file(files.place("x.py", tmp_path / "here" / "link"), 100) == GOOD.encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user's file")
def test_a_hard_link_to_the_file_of_another_is_refused(tmp_path):
    (tmp_path / "secret.py").write_text(GOOD)
    os.link(tmp_path / "secret.py", tmp_path / "x.py")
    os.chown(tmp_path / "secret.py", 1234, 1234)
    with pytest.raises(OSError, match="another user"):
        files.read_file(tmp_path / "x.py", 100)


@pytest.mark.parametrize(
    "text",
    [
        "-" * 100_000 + "1",
        "(" * 50_000,
        "a," * 100_000,
        "x = " + "[" * 199 + "]" * 199 + "\n",
        "a.b" * 30_000,
        "not " * 9_000 + "1",
    ],
    ids=["minus", "brackets", "tuple", "lists", "dots", "nots"],
)
def test_no_text_hurts_who_looks_for_its_classes(text):
    found = outline(text.encode())
    assert found.error or not found.classes


def test_an_outline_has_classes_and_what_is_bound():
    found = outline(b"from a import B as C\nD = 1\nclass E: pass\n")
    assert list(found.classes) == ["E"] and found.bound == {"C", "D"} and not found.error
    assert (outline(b"x = 1\nclass E(: pass").line, outline(b"\0").error[:10]) == (2, "not Python")


def test_of_a_folder_only_its_own_python_files_are_taken(tmp_path):
    (tmp_path / "x.py").write_text(GOOD)
    (tmp_path / "beside.py").write_text("NUMBER = 7\n")
    (tmp_path / "data.txt").write_text("data")
    (tmp_path / "secret.py").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "sub.py").mkdir()
    endless(tmp_path / "huge.py")
    found, left_out = read_folder(tmp_path / "x.py")
    assert list(found) == ["x.py", "beside.py"]
    assert [line.split(":")[0] for line in left_out] == ["huge.py", "pipe.py", "secret.py", "sub.py"]
    for i in range(300):
        (tmp_path / f"more{i}.py").write_text("#" * 40_000)
    found, _ = read_folder(tmp_path / "x.py")
    assert len(found) <= 256 and sum(map(len, found.values())) <= 4 << 20


def test_modules_on_the_shelf_are_imported_and_shown_in_tracebacks(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    texts = {"/element/0": {"shelved_a.py": b"import shelved_b\n\ndef fail():\n    raise KeyError(shelved_b.N)\n"}}
    Shelf(texts | {"/element/1": {"shelved_b.py": b"N = 7\n"}}).install()
    import shelved_a

    try:
        with pytest.raises(KeyError, match="7") as caught:
            shelved_a.fail()
        assert "raise KeyError(shelved_b.N)" in str(caught.traceback[-1].statement)
        assert shelved_a.__file__ == "/element/0/shelved_a.py"
    finally:
        del sys.modules["shelved_a"], sys.modules["shelved_b"]
