#!/usr/bin/python3
"""Measures gpupool with many workers at Kaggle's stand-in and prints the figures.

    BUILD=release tests/bench/kaggle.py [--workers N] [--seconds S]

The stand-in runs no processes here: this program registers as each pushed agent would and sends its heartbeats, and then
counts for S seconds what a pool at rest costs: calls to Kaggle, and the provisioner's memory.  Settings are the defaults
but for the address; each account has seven workers, as Kaggle allows five of CPU and two of GPU at once.
"""
import argparse
import collections
import re
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from stack import Client, Stack, until  # noqa: E402
from kaggle_people import Person  # noqa: E402
from standin import KaggleStandIn  # noqa: E402

SHARE = ["cpu"] * 5 + ["gpu"] * 2


def memory(stack):
    """(PSS, private) in MiB of the provisioner that serves Kaggle, and its threads."""
    for pid in stack.pids("gpupool-provisioner", "kaggle"):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        found = {k: int(v) for k, v in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        return found["Pss"] / 1024, (found["Private_Clean"] + found["Private_Dirty"]) / 1024, threads
    raise SystemExit("no provisioner serves Kaggle")


class Agents(threading.Thread):
    """Speaks for every run that was pushed: registers it, then its heartbeats."""

    def __init__(self, stack, kaggle):
        super().__init__(daemon=True)
        self.stack, self.kaggle, self.tokens, self.over = stack, kaggle, {}, threading.Event()

    def register(self, run):
        token = re.search(r'^TOKEN = "([^"]+)"', run.version.text, re.M)[1]
        gpus = [{"name": "Tesla T4", "memoryBytes": 15360 << 20, "driver": "550"}] * 2 if run.resource == "gpu" else []
        body = {"provider": "kaggle", "instance": "instance-%d" % run.sid, "agent": "1.0.0", "protocol": 1, "capabilities": {
            "gpus": gpus, "tpu": False, "slots": len(gpus) or 1, "cpus": 4, "memoryBytes": 32 << 30, "python": "3.11", "platform": "Linux"}}
        told = Client(self.stack.port, token).post("/api/gpu/workers/auto-register", body)
        self.tokens[run.sid] = (told["workerId"], told["token"])

    def run(self):
        last = 0.0
        while not self.over.wait(0.1):
            for run in self.kaggle.runs(live=True):
                if run.state == "RUNNING" and run.sid not in self.tokens:
                    self.register(run)
            if time.monotonic() - last > 15:
                last = time.monotonic()
                for worker, token in list(self.tokens.values()):
                    Client(self.stack.port, token).post(f"/api/gpu/workers/{worker}/heartbeat", {"jobs": []})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=180)
    options = parser.parse_args()
    with KaggleStandIn() as kaggle:
        kaggle.world.processes = False
        stack = Stack(GPUPOOL_KAGGLE_URL=kaggle.url).start()
        try:
            measure(stack, kaggle, options)
        finally:
            stack.close()


def measure(stack, kaggle, options):
    pss, private, threads = memory(stack)
    print(f"provisioner without workers: {pss:.1f} MiB PSS, {private:.1f} MiB private, {threads} threads")
    people = [Person(stack, kaggle) for _ in range((options.workers + len(SHARE) - 1) // len(SHARE))]
    agents = Agents(stack, kaggle)
    agents.start()
    begun, asked = time.monotonic(), {}
    for n in range(options.workers):
        p = people[n // len(SHARE)]
        asked[(p.name, f"gpupool-bench-{n}")] = time.monotonic()
        p.add(SHARE[n % len(SHARE)], f"bench {n}")
    until(lambda: len(agents.tokens) >= options.workers or not agents.is_alive(), 600)
    assert agents.is_alive(), "an agent was refused"
    print(f"{options.workers} workers of {len(people)} accounts asked for, pushed and registered in {time.monotonic() - begun:.1f} s")
    pushed = sorted(c.at - asked[(c.owner, c.request["slug"].split("/")[1])] for c in kaggle.calls if c.method == "SaveKernel")
    print(f"from POST to the push: median {pushed[len(pushed) // 2]:.2f} s, longest {pushed[-1]:.2f} s")
    pss, private, threads = memory(stack)
    print(f"provisioner with {options.workers} workers: {pss:.1f} MiB PSS, {private:.1f} MiB private, {threads} threads")

    since = time.monotonic()
    until(lambda: time.monotonic() - since >= options.seconds, options.seconds + 5, every=0.1)
    took = time.monotonic() - since
    count = collections.Counter(c.method for c in kaggle.calls if c.at >= since)
    hours = options.workers * took / 3600
    print(f"at rest, over {took:.0f} s: {sum(count.values()) / hours:.1f} calls a worker-hour "
          f"({', '.join(f'{m} {n / hours:.1f}' for m, n in count.most_common())})")
    pss, private, threads = memory(stack)
    print(f"provisioner afterwards: {pss:.1f} MiB PSS, {private:.1f} MiB private; violations: {kaggle.violations or 'none'}")
    agents.over.set()


if __name__ == "__main__":
    main()
