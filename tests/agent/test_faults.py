"""The network and the server at their worst: every job runs once, and what it left arrives whole."""
import os
import random
import socket
import threading
import time

import pytest

from conftest import alive, until

COUNTED = "import os\nos.open(os.path.join(%r, 'ran-%%d' %% os.getpid()), os.O_CREAT)\nprint('line')\n" \
          "open(os.environ['GPUPOOL_OUT'] + '/a.txt', 'w').write('x')\n"


def runs(shared):
    return len([name for name in os.listdir(shared) if name.startswith("ran-")])


@pytest.mark.parametrize("route", ["claim", "results", "logs", "artifacts", "auto-register"])
def test_lost_reply_repeats_nothing(pool, start, shared, route):
    pool.cut[route] = 2
    start()
    job = pool.submit(COUNTED % shared)
    assert pool.finish(job)["state"] == "succeeded"
    pool.wait(lambda: not pool.cut[route])
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"
    assert runs(shared) == 1 and job.text == "line\n" and job.kept == {"a.txt": b"x"}
    assert job.deliveries == (3 if route == "claim" else 1)
    assert job.items == (3 if route == "results" else 1)
    assert pool.registrations == (3 if route == "auto-register" else 1)


def test_storm_of_faults_loses_nothing_and_repeats_nothing(pool, start, shared):
    dice = random.Random(7)
    pool.storm = lambda: dice.choice([None] * 7 + ["before", "after", 503])
    start(GPUPOOL_SLOTS="8", GPUPOOL_RETRY_SECONDS="0.02")
    code = ("import os, sys\nos.open(os.path.join(%r, 'ran-%%s-%%d' %% (sys.argv[1], os.getpid())), os.O_CREAT)\n"
            "for i in range(2000): print(i)\nopen(os.environ['GPUPOOL_OUT'] + '/a', 'w').write(sys.argv[1])\n"
            "open(os.environ['GPUPOOL_RESULT'], 'w').write(sys.argv[1])\n") % shared
    jobs = [pool.submit({"code": code, "args": [str(i)]}) for i in range(60)]
    log = "".join("%d\n" % i for i in range(2000))
    for i, job in enumerate(jobs):
        item = pool.finish(job, 30)
        assert item["state"] == "succeeded" and item["result"] == i
        assert job.text == log and job.kept == {"a": str(i).encode()}
    assert runs(shared) == len(jobs)


def test_second_delivery_while_running_and_after_the_end_runs_nothing(pool, start, shared):
    start(GPUPOOL_SLOTS="2")
    job = pool.submit(COUNTED % shared + "import time\nwhile not os.path.exists(%r): time.sleep(0.02)" % (shared + "/go"))
    until(lambda: runs(shared))

    def again():
        with pool.changed:
            before = job.deliveries
            pool.queue.append(job)
            pool.changed.notify_all()
        pool.wait(lambda: job.deliveries > before)
    again()
    open(shared + "/go", "w").close()
    pool.finish(job)
    again()
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"
    assert runs(shared) == 1 and job.items == 1


def test_job_works_on_through_an_outage(pool, start, shared):
    start()
    job = pool.submit("import os, time\nprint('before', flush=True)\nwhile not os.path.exists(%r): time.sleep(0.02)\n"
                      "print('during', flush=True)\nopen(%r, 'w')\nopen(os.environ['GPUPOOL_OUT'] + '/m', 'w').write('m')\n"
                      "open(os.environ['GPUPOOL_RESULT'], 'w').write('[1]')" % (shared + "/go", shared + "/written"))
    pool.wait(lambda: job.text == "before\n")
    pool.stop()
    open(shared + "/go", "w").close()
    until(lambda: os.path.exists(shared + "/written"))
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.5)       # it ended while nobody could hear of it
    pool.start()
    item = pool.finish(job)
    assert item["state"] == "succeeded" and item["result"] == [1]
    assert job.text == "before\nduring\n" and job.kept == {"m": b"m"}
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"
    assert pool.registrations == 1


@pytest.mark.parametrize("route", ["auto-register", "claim", "heartbeat", "results", "logs", "artifacts"])
def test_route_that_fails_for_a_while_is_tried_again(pool, start, shared, route):
    pool.fail[route] = [500, 503, 429]
    start()
    job = pool.submit(COUNTED % shared)
    assert pool.finish(job)["state"] == "succeeded"
    pool.wait(lambda: not pool.fail[route])
    assert runs(shared) == 1 and job.text == "line\n" and job.kept == {"a.txt": b"x"}


def test_result_without_an_answer_is_still_held(pool, start, shared):
    pool.fail["results"] = [503] * 1000
    pool.park_seconds = 0.3
    start()
    job = pool.submit(COUNTED % shared)
    pool.wait(lambda: len(pool.bodies("results")) > 1)
    ended = len(pool.calls)
    pool.wait(lambda: any(job.lease in body["holding"] for _, name, body in pool.calls[ended:] if name == "claim"))
    pool.wait(lambda: any(job.lease == entry["lease"] for _, name, body in pool.calls[ended:] if name == "heartbeat"
                          for entry in body["jobs"]))
    with pool.changed:
        pool.fail["results"].clear()
    assert pool.finish(job)["state"] == "succeeded"
    ended = len(pool.calls)
    other = pool.submit("pass")
    pool.finish(other)
    pool.wait(lambda: any(job.lease not in body["holding"] for _, name, body in pool.calls[ended:] if name == "claim"))
    assert runs(shared) == 1


def test_log_goes_back_to_where_the_server_is(pool, start, shared):
    start()
    job = pool.submit("import os, time\nprint('first line')\nwhile not os.path.exists(%r): time.sleep(0.02)\nprint('second')"
                      % (shared + "/go"))
    pool.wait(lambda: job.text == "first line\n")
    with pool.changed:
        del job.log[5:]                     # the server lost what it had acknowledged: its next answer is 409
    open(shared + "/go", "w").close()
    pool.finish(job)
    assert job.text == "first line\nsecond\n"


def test_overlap_in_the_log_is_no_matter(pool, start, shared):
    start()
    job = pool.submit("import os, time\nprint('first')\nwhile not os.path.exists(%r): time.sleep(0.02)\nprint('second')"
                      % (shared + "/go"))
    pool.wait(lambda: job.text == "first\n")
    pool.cut["logs"] = 1
    open(shared + "/go", "w").close()
    pool.finish(job)
    assert job.text == "first\nsecond\n"


def test_full_log_is_not_sent_any_further(pool, start):
    pool.log_limit = 1000
    start()
    job = pool.submit("for i in range(100000): print(i)")
    assert pool.finish(job)["state"] == "succeeded"
    assert len(job.log) == 1000 and len(pool.bodies("logs")) <= 2


def test_job_whose_lease_is_void_is_stopped(pool, start, shared):
    start()
    job = pool.submit("import os, time\nopen(%r, 'w').write(str(os.getpid()))\nwhile True: print('x', flush=True); time.sleep(0.05)"
                      % (shared + "/pid"))
    pool.wait(lambda: job.log)
    with pool.changed:
        job.void = True
    until(lambda: not alive(int(open(shared + "/pid").read())), 5)
    pool.wait(lambda: job.items)
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"


def test_artifacts_of_a_void_lease_are_given_up(pool, start, shared):
    start()
    job = pool.submit("import os, time\nopen(%r, 'w')\nwhile not os.path.exists(%r): time.sleep(0.02)\n"
                      "open(os.environ['GPUPOOL_OUT'] + '/m', 'w')" % (shared + "/started", shared + "/go"))
    until(lambda: os.path.exists(shared + "/started"))
    with pool.changed:
        job.void = True
    open(shared + "/go", "w").close()
    pool.wait(lambda: job.items)
    assert not job.artifacts and pool.bodies("artifacts") == ["m"]


def test_bad_items_among_the_delivered_disturb_no_other(pool, start):
    class Wild:
        """A job whose delivery is whatever the test says."""
        deliveries, item, void, lease = 0, object(), False, "none"

        def __init__(self, value):
            self.value = value

        def spec(self):
            return self.value
    start(GPUPOOL_SLOTS="16")
    with pool.changed:
        pool.queue += [Wild(value) for value in (None, 7, {}, {"jobId": "1"}, {"jobId": "../../x", "lease": "y"},
                                                 {"jobId": "1", "lease": "../y"}, {"jobId": 1, "lease": "z"})]
        pool.changed.notify_all()
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"


class Raw:
    """A peer that answers each connection with given bytes and then keeps it open or drips."""

    def __init__(self, answer, drip=None, hang_up=False):
        self._hang_up = hang_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._answer, self._drip, self.connections = answer, drip, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            while peer.recv(65536):
                peer.sendall(self._answer)
                if self._hang_up:
                    peer.shutdown(socket.SHUT_RDWR)
                began = time.monotonic()
                while self._drip and time.monotonic() - began < 4:
                    peer.sendall(self._drip)
                    time.sleep(0.05)
        except OSError:
            pass

    def close(self):
        self._listener.close()


@pytest.fixture
def raw():
    peers = []

    def make(*args, **kind):
        peers.append(Raw(*args, **kind))
        return peers[-1]
    yield make
    for peer in peers:
        peer.close()


def call(agent_module, peer, seconds=0.5, **kind):
    server = agent_module.Server("http://127.0.0.1:%d" % peer.port)
    server.start()
    server.adopt("1", "t")
    return server.worker(server.link(), "claim", {}, seconds=seconds, **kind)


@pytest.mark.parametrize("answer", [
    b"rubbish\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"a",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b" " * 2000000,
])
def test_answer_that_makes_no_sense_means_later(agent_module, raw, answer):
    for hang_up in (False, True):
        with pytest.raises(agent_module.Unreachable):
            call(agent_module, raw(answer, hang_up=hang_up))


@pytest.mark.parametrize("drip", [(b"HTTP/1.1 200 OK\r\nX: ", b"y"), (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b" ")])
def test_reply_that_drips_is_cut_at_the_deadline(agent_module, raw, drip):
    began = time.monotonic()
    with pytest.raises(agent_module.Unreachable):
        call(agent_module, raw(*drip))
    assert time.monotonic() - began < 2


def test_retry_after_is_kept(agent_module, raw):
    with pytest.raises(agent_module.Unreachable) as caught:
        call(agent_module, raw(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"))
    assert caught.value.retry_after == 7


def test_redirect_is_not_followed(agent_module, raw):
    other = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    with pytest.raises(agent_module.Refused):
        call(agent_module, raw(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % other.port))
    assert other.connections == 0
