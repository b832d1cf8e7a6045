"""What the fork server loads before it forks: packages that the program's modules name, and nothing dangerous."""

import subprocess
import sys
import threading
from multiprocessing import forkserver
from types import ModuleType

import pytest

from amorsize.backends.workers import fork_server
from amorsize.backends.workers.fork_server import OURS, UNSET, named_by, packages, prepare

SITE = "/usr/lib/python3/site-packages"


@pytest.fixture
def program(monkeypatch):
    """A main module with a package, a part of another one, the standard library, and a module of the user's own."""

    def module(name, file, **names):
        made = ModuleType(name)
        made.__file__ = file
        vars(made).update(names)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    users = fork_server._users_modules()
    for name in [name for name, one in sys.modules.items() if one in users]:
        monkeypatch.delitem(sys.modules, name)
    deep = module("deep", f"{SITE}/deep/__init__.py")
    part = module("deep.part", f"{SITE}/deep/part.py")
    wide = module("wide", f"{SITE}/wide.py")
    module("unnamed", f"{SITE}/unnamed.py")

    class Tool:
        __module__ = part.__name__

    user = module("helpers", "/home/me/helpers.py", Tool=Tool, deep_is_not_named=1)
    main = module("__main__", "/home/me/program.py", wide=wide, threading=threading, helpers=user, number=1)
    monkeypatch.setattr(fork_server, "main_is_interactive", lambda: False)
    return main, deep


def test_packages_that_the_programs_modules_name(program):
    assert packages() == ["deep", "deep.part", "wide"]


def test_a_users_module_below_a_package_of_no_file_is_the_users(program, monkeypatch):
    """As of a namespace package, or of a plug-in that adds itself to one."""
    space, tool = ModuleType("space"), ModuleType("space.mine")
    tool.__file__ = "/home/me/space/mine.py"
    monkeypatch.setitem(sys.modules, "space", space)
    monkeypatch.setitem(sys.modules, "space.mine", tool)
    assert tool in fork_server._users_modules()
    assert program[1] not in fork_server._users_modules()


def test_not_those_that_have_started_threads(program):
    done = threading.Event()

    def watch():
        done.wait()

    watch.__module__ = "wide.threads"
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        assert packages() == ["deep", "deep.part"]
    finally:
        done.set()
        thread.join()


def test_not_those_that_hold_a_device(program, monkeypatch):
    monkeypatch.setattr(fork_server, "UNSAFE_AFTER_FORK", ("deep.cuda",))
    monkeypatch.setitem(sys.modules, "deep.cuda", ModuleType("deep.cuda"))
    assert packages() == ["wide"]


def test_objects_that_dislike_being_looked_at(program):
    class Sulks:
        def __getattribute__(self, name):
            raise RuntimeError

    program[0].sulks = Sulks()
    assert packages() == ["deep", "deep.part", "wide"]


def test_without_a_main_module_only_what_the_function_names(program, monkeypatch):
    monkeypatch.setattr(fork_server, "main_is_interactive", lambda: True)
    assert packages() == []
    scope = {"deep": program[1], "__name__": "__main__"}
    exec("def func(x): return deep.part", scope)
    assert "deep" in named_by(scope["func"])
    assert packages(scope["func"]) == ["deep"]


def test_the_users_own_list_is_left_alone(program, monkeypatch):
    server = forkserver._forkserver
    monkeypatch.setattr(server, "_forkserver_pid", None)
    monkeypatch.setattr(server, "_preload_modules", ["mine"])
    prepare()
    assert server._preload_modules == ["mine"]
    monkeypatch.setattr(server, "_preload_modules", list(UNSET))
    prepare()
    assert server._preload_modules == [OURS, "deep", "deep.part", "wide"]
    assert "__main__" not in server._preload_modules


def test_a_server_that_runs_is_left_alone(program, monkeypatch):
    server = forkserver._forkserver
    monkeypatch.setattr(server, "_forkserver_pid", 1)
    monkeypatch.setattr(server, "_preload_modules", list(UNSET))
    prepare()
    assert server._preload_modules == UNSET


INTERRUPTED = """
import os, signal
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path

from amorsize.backends.workers import fork_server


class Shot(BaseException):
    pass


def shoot(*_):
    raise Shot


def spawned(*arguments):
    pid = spawn(*arguments)
    os.kill(os.getpid(), signal.SIGALRM)
    return pid


signal.signal(signal.SIGALRM, shoot)
spawn, util.spawnv_passfds = util.spawnv_passfds, spawned
try:
    fork_server.start()
except Shot:
    known = {forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid}
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    print(sorted(map(int, children)) == sorted(known))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupt_of_its_start_loses_no_process():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
