"""Quotas in real control groups, as the benchmark makes them; skipped with the reason where it cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import quotas


@pytest.mark.cgroup
@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_a_process_in_the_group_has_the_quota():
    code = "from amorsize.system.machine import machine; print(machine().usable_cores)"
    try:
        with quotas.group(0.5) as path:
            command = ["sh", "-c", quotas.JOIN, str(path), sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
    except quotas.NotHereError as reason:
        pytest.skip(str(reason))
    assert float(done.stdout) == 0.5
    assert not path.exists()


def test_where_no_group_can_be_made_the_reason_is_told(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(quotas, "parent_of_groups", lambda: (tmp_path / "missing", False))
    monkeypatch.setattr(sys, "argv", ["quotas", "--rounds", "1"])
    assert quotas.main() == 0
    assert "skipped: no group can be made" in capsys.readouterr().out
