"""The agent's parts by themselves, where a whole agent would show too little."""
import json
import os
import signal
import socket
import threading

import pytest

from conftest import until


def test_backoff_grows_jitters_and_ends(agent_module):
    backoff = agent_module.Backoff(5.0)
    for window in (5, 10, 20, 30, 30):
        state = backoff._tries
        delays = []
        for _ in range(200):
            backoff._tries = state
            delays.append(backoff.delay())
        assert 0 <= min(delays) < 0.15 * window and 0.85 * window < max(delays) <= window
    backoff.reset()
    assert backoff.delay() <= 5
    assert backoff.delay(7) >= 7


def test_deadline_is_bounded_from_both_sides(agent_module, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(agent_module, "now", lambda: clock[0])
    deadline = agent_module.Deadline()
    deadline.learn({"deadlineSeconds": 1000}, 100.0)
    assert deadline.at == 1100
    clock[0] = 125.0                                    # a claim, parked for 25 s, answered just now
    deadline.learn({"deadlineSeconds": 975}, 100.0)
    assert deadline.at == 1100
    deadline.learn({}, 100.0)
    assert deadline.at == 1100
    deadline.learn({"deadlineSeconds": 500}, 124.0)     # lowered
    assert deadline.at == 625
    deadline.learn({"deadlineSeconds": 900}, 124.0)     # raised
    assert deadline.at == 1024
    deadline.learn({"deadlineSeconds": None}, 124.0)
    assert deadline.at is None


def test_capacity_keeps_gpus_apart_while_there_are_enough(agent_module):
    capacity = agent_module.Capacity(2, ["0", "1"])
    assert capacity.free() == 2
    assert capacity.take(1) == ["0"] and capacity.take(2) is None and capacity.free() == 1
    assert capacity.take(1) == ["1"] and capacity.take(1) is None and capacity.free() == 0
    capacity.give_back(["0"])
    assert capacity.take(1) == ["0"]


def test_capacity_gives_all_gpus_to_one_job(agent_module):
    capacity = agent_module.Capacity(1, ["0", "1"])
    assert capacity.take(2) == ["0", "1"] and capacity.free() == 0
    capacity.give_back(["0", "1"])
    assert capacity.free() == 1


def test_capacity_shares_gpus_when_slots_exceed_them(agent_module):
    capacity = agent_module.Capacity(4, ["0", "1"])
    assert [capacity.take(1) for _ in range(4)] == [["0"], ["1"], ["0"], ["1"]]
    assert capacity.take(1) is None and capacity.free() == 0


def test_capacity_without_gpus_counts_slots(agent_module):
    capacity = agent_module.Capacity(2, [])
    assert capacity.take(1) == [] and capacity.take(4) == [] and capacity.take(1) is None


@pytest.mark.parametrize("tail, kind, message", [
    ("Traceback (most recent call last):\n  File \"x\", line 1, in <module>\nValueError: bad: thing\n", "ValueError", "bad: thing"),
    ("Traceback (most recent call last):\n  File \"x\"\ntorch.cuda.OutOfMemoryError: 2 GiB\n", "torch.cuda.OutOfMemoryError", "2 GiB"),
    ("Traceback (most recent call last):\n  File \"x\"\nKeyboardInterrupt\n", "KeyboardInterrupt", "exit code 1"),
    ("Traceback (most recent call last):\n  File \"x\"\nA: 1\n\nDuring handling of the above exception:\n\n"
     "Traceback (most recent call last):\n  File \"y\"\nB: 2\n", "B", "2"),
    ("Traceback (most recent call last):\n  File \"x\"\nOSError: 1\nDone\nBye: bye\n", "OSError", "1"),
    ("said\n  File \"main.py\", line 1\n    x x\n      ^\nSyntaxError: invalid syntax\n", "SyntaxError", "invalid syntax"),
    ("no trace at all\n", "exit", "exit code 1"),
    ("Traceback (most recent call last):", "exit", "exit code 1"),
    ("", "exit", "exit code 1"),
])
def test_failure_finds_the_exception(agent_module, tail, kind, message):
    error = agent_module.failure({"exit": 1}, tail)
    assert (error["type"], error["message"]) == (kind, message)
    assert ("traceback" in error) == (kind != "exit")


def test_failure_is_bounded(agent_module):
    error = agent_module.failure({"exit": 1}, "Traceback (most recent call last):\n" + "  x\n" * 20000 + "E: " + "y" * 9000)
    assert len(error["traceback"]) <= 16384 and len(error["message"]) <= 2000


@pytest.mark.parametrize("name, good", [
    ("a", True), ("a/b/c", True), (".hidden", True), ("a..b", True), ("x" * 128, True), ("1/2/3/4/5/6/7/8", True),
    ("", False), (".", False), ("..", False), ("a/../b", False), ("a//b", False), ("/a", False), ("a/", False),
    ("a b", False), ("a\n", False), ("ä", False), ("x" * 129, False), ("1/2/3/4/5/6/7/8/9", False), ("a\\b", False),
])
def test_names_lead_nowhere(agent_module, name, good):
    assert agent_module.good_name(name) == good


@pytest.mark.parametrize("text, expected", [
    ("0.5 half\n", {"fraction": 0.5, "message": "half"}),
    ("0.1 a\n0.2 b\n0.3 cut", {"fraction": 0.2, "message": "b"}),
    ("7 more than all\n", {"fraction": 1.0, "message": "more than all"}),
    ("-1\n", {"fraction": 0.0, "message": ""}),
    ("inf x\n", {"fraction": 1.0, "message": "x"}),
    ("nan x\n", None), ("x\n", None), ("", None),
    ("0.5 \x1b[31mred\x00\r\n", {"fraction": 0.5, "message": "[31mred"}),
    ("0.4 " + "m" * 10000 + "\n0.6 last\n", {"fraction": 0.6, "message": "last"}),
    ("0.4 " + "m" * 1000 + "\n", {"fraction": 0.4, "message": "m" * 200}),
])
def test_progress_takes_the_last_line_that_makes_sense(agent_module, tmp_path, text, expected):
    place = agent_module.JobDir(str(tmp_path / "job"), str(tmp_path / "tmp"), 0)
    (tmp_path / "job" / "box" / "progress").write_text(text, newline="")
    assert place.progress() == expected


def outbox(agent_module, tmp_path, count, size=10):
    box = agent_module.Outbox(str(tmp_path / "results"))
    for i in range(count):
        box.put({"jobId": str(i), "lease": "lease-%d" % i, "state": "succeeded", "result": "x" * size})
    return box


def accepted(items, **more):
    return [dict({"lease": item["lease"], "accepted": True}, **more) for item in items]


def test_outbox_sends_at_most_500_at_once_and_empties(agent_module, tmp_path):
    box = outbox(agent_module, tmp_path, 501)
    first = box.batch()
    assert len(first) == 500
    box.answered(first, accepted(first))
    assert len(box.batch()) == 1 and len(os.listdir(tmp_path / "results")) == 1


def test_outbox_keeps_batches_small_in_bytes(agent_module, tmp_path):
    box = outbox(agent_module, tmp_path, 10, size=900000)
    assert len(box.batch()) == 4


def test_outbox_halves_what_is_too_large_and_gives_up_one_result(agent_module, tmp_path):
    box = outbox(agent_module, tmp_path, 4)
    no = agent_module.Refused(413, {})
    box.refused(box.batch(), no)
    assert len(box.batch()) == 2
    box.refused(box.batch(), no)
    assert len(box.batch()) == 1
    box.refused(box.batch(), no)
    item, = [item for item in box.batch() if "error" in item]
    assert item["state"] == "failed" and item["error"]["type"] == "result_too_large" and "result" not in item
    box.refused([item], no)
    assert len(box.held()) == 3


def test_outbox_keeps_what_had_no_answer(agent_module, tmp_path):
    box = outbox(agent_module, tmp_path, 3)
    box.answered(box.batch(), accepted(box.batch()[:1]) + ["rubbish"])
    assert len(box.held()) == 2
    with pytest.raises(agent_module.Unreachable):
        box.answered(box.batch(), [])


@pytest.mark.parametrize("reason", ["stale", "cancelled", "unknown"])
def test_outbox_ends_its_duty_with_any_answer(agent_module, tmp_path, reason):
    box = outbox(agent_module, tmp_path, 1)
    box.answered(box.batch(), accepted(box.batch(), accepted=False, reason=reason))
    assert not box.held()


class Keeping:
    """A keeper in a process of its own, by its control socket."""

    def __init__(self, agent_module, tmp_path, argv, cap=1 << 20):
        self.log = str(tmp_path / "log")
        open(self.log, "w").close()
        self.control, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self.control.close()
            try:
                agent_module.Keeper(theirs).run()
            finally:
                os._exit(0)
        theirs.close()
        self.spec = json.dumps({"argv": argv, "env": {"PATH": "/usr/bin:/bin"}, "cwd": str(tmp_path), "log": self.log,
                                "uid": 0, "umask": 0o077, "logCap": cap}).encode() + b"\n"

    def end(self):
        self.control.settimeout(10)
        data = b""
        while True:
            more = self.control.recv(4096)
            if not more:
                break
            data += more
        os.waitpid(self.pid, 0)
        with open(self.log, "rb") as log:
            return data and json.loads(data[1:]), log.read()


def test_keeper_reports_only_when_nothing_is_left(agent_module, tmp_path):
    keeper = Keeping(agent_module, tmp_path, ["sh", "-c", "(sleep 1000 & echo $! >pid); echo said; exit 3"])
    keeper.control.sendall(keeper.spec)
    assert keeper.end() == ({"exit": 3}, b"said\n")
    with open(tmp_path / "pid") as file:
        assert not os.path.exists("/proc/%s" % file.read().strip())


@pytest.mark.parametrize("order, end", [(b"t", {"signal": signal.SIGTERM}), (b"k", {"signal": signal.SIGKILL})])
def test_keeper_obeys_an_order_that_comes_with_the_command(agent_module, tmp_path, order, end):
    keeper = Keeping(agent_module, tmp_path, ["sleep", "1000"])
    keeper.control.sendall(keeper.spec + order)
    assert keeper.end()[0] == end


def test_keeper_without_an_agent_kills(agent_module, tmp_path):
    keeper = Keeping(agent_module, tmp_path, ["sh", "-c", "echo $$ >pid; exec sleep 1000"])
    keeper.control.sendall(keeper.spec)
    until(lambda: os.path.exists(tmp_path / "pid") and os.path.getsize(tmp_path / "pid"))
    keeper.control.shutdown(socket.SHUT_WR)
    assert keeper.end()[0] == {"signal": signal.SIGKILL}


def test_keeper_without_a_command_leaves(agent_module, tmp_path):
    keeper = Keeping(agent_module, tmp_path, ["true"])
    keeper.control.sendall(keeper.spec[:10])
    keeper.control.shutdown(socket.SHUT_WR)
    assert keeper.end() == (b"", b"")


def test_keeper_caps_the_log_and_keeps_its_end(agent_module, tmp_path):
    keeper = Keeping(agent_module, tmp_path, ["sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"], cap=1000)
    keeper.control.sendall(keeper.spec)
    end, log = keeper.end()
    assert end == {"exit": 0} and len(log) == 1000 and log.startswith(b"line 0\n")
    with open(keeper.log + ".tail", "rb") as tail:
        assert tail.read().endswith(b"line 2999\n")


def test_keeper_ends_a_storm_of_processes(agent_module, tmp_path):
    storm = "import os, time\nfor i in range(60):\n    if os.fork() == 0:\n        os.setsid()\n        while True:\n" \
            "            if os.fork() == 0: time.sleep(0.3); os._exit(0)\n            time.sleep(0.1)\n" \
            "print('up', flush=True)\ntime.sleep(1000)"
    keeper = Keeping(agent_module, tmp_path, ["/usr/bin/python3", "-c", storm])
    keeper.control.sendall(keeper.spec)
    until(lambda: os.path.getsize(keeper.log))
    keeper.control.sendall(b"k")
    assert keeper.end()[0] == {"signal": signal.SIGKILL}


def test_uids_are_lent_once(agent_module):
    if os.geteuid() != 0:
        pytest.skip("only root lends uids")
    first, second = agent_module.Uids(61000), agent_module.Uids(61000)    # two agents on one machine
    uids = [first.take(), second.take(), first.take()]
    assert len(set(uids)) == 3
    first.give_back(uids[0])
    assert second.take() == uids[0]


def test_journal_keeps_lines_whole_plain_and_few(agent_module, capfd):
    journal = agent_module.Journal()
    threads = [threading.Thread(target=lambda: [journal("%s", "x\n\x1b[1m" * 3) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.tail().encode()) <= 16 << 10
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 800 and all("\x1b" not in line for line in lines)


def test_outbox_on_a_full_disk_keeps_results_in_memory(agent_module, tmp_path, monkeypatch):
    box = outbox(agent_module, tmp_path, 1)
    monkeypatch.setattr(agent_module.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    box.put({"jobId": "9", "lease": "lease-9", "state": "failed", "error": {"type": "exit", "message": "1"}})
    assert len(box.batch()) == 2
    box.answered(box.batch(), accepted(box.batch()))
    assert not box.held()


def test_workplaces_in_one_directory_do_not_disturb_each_other(agent_module, tmp_path, monkeypatch):
    monkeypatch.setattr(agent_module.Workplace, "SHORT", 1000)      # nothing of this test outside its directory
    first = agent_module.Workplace(str(tmp_path), "a" * 32, 0)
    place = first.job_dir(0)
    second = agent_module.Workplace(str(tmp_path), "b" * 32, 0)     # sweeps, and finds the first alive
    assert os.path.exists(place.log) and first.job_dir(0).path != second.job_dir(0).path
    first._mark.close()                                             # as when its process is gone
    agent_module.Workplace(str(tmp_path), "c" * 32, 0)
    assert not os.path.exists(place.log) and os.path.exists(second.results[:-8])


@pytest.mark.parametrize("said, error", [(b"", "ConnectionError"), (b"+", "JobFailed"), (b"+{\"exit\"", "JobFailed")])
def test_keeper_that_was_lost_is_told_from_one_that_never_was(agent_module, said, error):
    ours, theirs = socket.socketpair()
    theirs.sendall(said)
    theirs.close()
    with pytest.raises((ConnectionError, agent_module.JobFailed)) as caught:
        agent_module.Child(ours).wait()
    assert caught.typename == error


def test_no_jobs_are_taken_while_too_many_results_wait(agent_module):
    agent = agent_module.Agent.__new__(agent_module.Agent)
    agent._draining, agent._ending, agent._waiting = False, threading.Event(), []
    agent.capacity = agent_module.Capacity(4, [])
    for held, free in ((499, 4), (500, 0)):
        agent.outbox = type("Full", (), {"held": lambda self, n=held: [None] * n})()
        assert agent._free() == free
