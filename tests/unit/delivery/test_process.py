"""Whether another process has certainly ended."""

import os
import subprocess
from dataclasses import replace

from celery_fleet.delivery.process import is_gone, started, this_process


def test_a_process_that_runs_is_not_gone():
    me = this_process()
    assert me.pid == os.getpid()
    assert me.started == started(os.getpid())
    assert not is_gone(me, me)


def test_a_process_that_ended_is_gone_and_so_is_its_zombie():
    me = replace(this_process(), machine="m", boot="b", pidns="n")
    child = subprocess.Popen(["sleep", "60"])
    other = replace(me, pid=child.pid, started=started(child.pid) or 0)
    assert not is_gone(other, me)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(other, me)
    child.wait()
    assert is_gone(other, me)


def test_another_process_with_the_same_id_is_another():
    me = replace(this_process(), machine="m", boot="b", pidns="n")
    assert is_gone(replace(me, started=me.started - 1), me)


def test_what_cannot_be_told_from_here_is_not_gone():
    me = replace(this_process(), machine="m", boot="b", pidns="n")
    dead = replace(me, pid=2**22 + 1, started=1)
    assert is_gone(dead, me)
    assert is_gone(replace(me, boot="earlier"), me)
    for other in (replace(dead, machine="other"), replace(dead, machine=""), replace(dead, pidns="x")):
        assert not is_gone(other, me)
