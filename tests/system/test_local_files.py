"""Files that items name are looked at on local disks only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amorsize.system.local_files import LocalFiles
from amorsize.system.object_sizes import how_to_size, size_of

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/mountinfo"), reason="no list of mounts here")


@pytest.fixture
def asked(monkeypatch):
    """The paths that the file system was asked for."""
    seen = []
    for name in ("stat", "lstat", "readlink"):
        whole = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *a, _whole=whole, **k: (seen.append(str(path)), _whole(path, *a, **k))[1]
        )
    return seen


def mounts(tmp_path, *points):
    table = tmp_path / "mountinfo"
    lines = ["22 1 8:1 / / rw - ext4 /dev/sda1 rw", *(f"40 22 0:40 / {p} rw - {kind} x rw" for p, kind in points)]
    table.write_text("\n".join(lines))
    return LocalFiles(str(table))


def test_a_local_file_by_str_and_by_path(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("abc")
    (tmp_path / "link").symlink_to("file")
    monkeypatch.chdir(tmp_path)
    files = LocalFiles()
    assert [files(str(tmp_path / "file")), files(tmp_path / "link"), files("file"), files("./../nothing")] == [
        3,
        3,
        3,
        None,
    ]
    assert files(tmp_path) is None
    assert how_to_size([tmp_path / "file"])(tmp_path / "file") == 3


@pytest.mark.parametrize("kind", ["nfs4", "autofs", "cifs", "fuse.sshfs"])
def test_nothing_on_a_network_is_asked_for(tmp_path, asked, kind):
    """A server that does not answer would hang the map; an automounter would mount what the path names."""
    there = tmp_path / "far"
    there.mkdir()
    (there / "file").write_text("abc")
    (tmp_path / "link").symlink_to(there / "file")
    (tmp_path / "folder").symlink_to("far")
    files = mounts(tmp_path, (there, kind))
    asked.clear()
    for path in (there / "file", tmp_path / "link", tmp_path / "folder" / "file", there / ".." / "far" / "file"):
        assert files(str(path)) is None
    assert not [path for path in asked if path.startswith(str(there))]


def test_without_a_list_of_mounts_nothing_is_asked_for(tmp_path, asked):
    (tmp_path / "file").write_text("abc")
    files = LocalFiles(str(tmp_path / "no mountinfo"))
    asked.clear()
    assert files(str(tmp_path / "file")) is None
    assert not asked


def test_texts_that_name_no_file(asked):
    class Cloud:
        def __fspath__(self):
            raise AssertionError("fetched")

    for item in ("", "a\nb", "a\0b", "x" * 100_000, Cloud(), 3, None):
        assert LocalFiles()(item) is None
    assert how_to_size([Cloud()]) is size_of
    assert how_to_size(["no such file here"]) is size_of


def test_links_that_go_round_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert LocalFiles()(Path(tmp_path / "a")) is None
