"""``print(amorsize.machine())``, and what a notebook shows of it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

import amorsize
from amorsize.cli.diagnostics import Diagnosis, to_text
from amorsize.system.machine_text import WIDTH
from amorsize.testing import a_machine

SOURCES = {
    "quota_cores": "/sys/fs/cgroup/some.scope/cpu.max",
    "affinity_cores": "os.sched_getaffinity(0)",
    "memory_limit_bytes": "none set from /sys/fs/cgroup up; unknown: cannot read /a/memory.max: denied",
}


def odd(**changes):
    return replace(a_machine(cores=4), sources=SOURCES, quota_cores=1.5, usable_cores=1.5, load=9.5, **changes)


def test_it_reads_like_the_diagnostics():
    machine = odd()
    told = str(machine).splitlines()
    diagnosis = to_text(Diagnosis(machine=machine, costs=(), version="1"))
    assert [line for line in told if line.strip() and line not in diagnosis] == []
    for title in ("Cores", "Memory", "Interpreter", "Warnings"):
        assert title in told
    assert "1.5         quota 1.5 from /sys/fs/cgroup/some.scope/cpu.max, affinity 4" in str(machine)
    assert "cannot read /a/memory.max: denied" in str(machine)
    assert all(len(line) <= WIDTH for line in told)


def test_of_this_machine():
    machine = amorsize.machine()
    assert f"{machine.usable_cores:.4g}" in str(machine)
    assert f"{machine}" == str(machine)


def test_its_repr_stays():
    assert repr(odd()).startswith("Machine(system=")


def test_in_a_notebook():
    page = ElementTree.fromstring(f"<div>{odd()._repr_html_()}</div>")
    cells = [cell.text for cell in page.iter("td")]
    assert cells[:3] == ["usable", "1.5", "quota 1.5 from /sys/fs/cgroup/some.scope/cpu.max, affinity 4"]
    assert [cell.text for cell in page.iter("th") if cell.text] == ["Cores", "Memory", "Interpreter"]
    assert "memory_limit_bytes: unknown: cannot read /a/memory.max: denied" in cells


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "\x1b[2J", "a & b"])
def test_a_files_text_is_never_raw(evil):
    machine = odd(python=evil, system=evil)
    page = machine._repr_html_()
    assert "<script>" not in page
    assert "\x1b" not in page + str(machine)
    ElementTree.fromstring(f"<div>{page}</div>")
