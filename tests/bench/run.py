#!/usr/bin/python3
"""Measures gpupool beside a peer on this machine and prints one table.

    make bench        (or: BUILD=release tests/bench/run.py [--rounds N] [--seconds S])

List of 20 workers through nginx, against Fastify and pg answering the same
rows behind an nginx with the same settings, and against the same statement by
pgbench (PostgreSQL's own limit); rounds alternate, medians are shown with
their range.  Then private memory of a web process, and the time from POST
notebook to healthy.  Last, the programs of tests/bench/*.c: the event loop's
figures; and a week of a pool, simulated.

Rates are of a noisy machine that also runs the load generator: read ratios.
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from stack import BUILD, Stack, free_port, until  # noqa: E402

PEER = ROOT / "tests/bench/peer"


def statement(name):
    """The text of a statement in sql/queries, without its comments."""
    for file in sorted((ROOT / "sql/queries").glob("*.sql")):
        found = re.search(rf"^-- name: {name}\b.*?\n(.*?)(?=^-- name:|\Z)", file.read_text(), re.M | re.S)
        if found:
            lines = [l for l in found.group(1).splitlines() if not l.lstrip().startswith("--")]
            return "\n".join(lines).strip().rstrip(";")
    raise SystemExit(f"no statement {name}")


def literal(value):
    if value is None:
        return "null"
    return str(value).lower() if not isinstance(value, str) else "'" + value + "'"


def wrk(url, seconds, connections, headers=()):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for h in headers:
        command += ["-H", h]
    out = subprocess.run(command + [url], capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    unit = {"us": 1e-3, "ms": 1, "s": 1e3}
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), float(p99.group(1)) * unit[p99.group(2)]


class Peer:
    """Fastify + pg behind an nginx of its own, in a directory of its own."""

    def __init__(self, dsn, sql, params, processes):
        self.dir = Path(tempfile.mkdtemp(prefix="gpupool-peer-"))
        os.chmod(self.dir, 0o755)
        for name in ("package.json", "package-lock.json", "server.mjs", ".npmrc"):
            shutil.copy(PEER / name, self.dir)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=self.dir, check=True)
        app, self.port = free_port(), free_port()
        (self.dir / "nginx.conf").write_text(f"""
            daemon off; worker_processes 1; pid {self.dir}/pid; error_log stderr warn;
            events {{ worker_connections 4096; }}
            http {{
              access_log off; client_body_temp_path {self.dir}/b; proxy_temp_path {self.dir}/p;
              fastcgi_temp_path {self.dir}/f; uwsgi_temp_path {self.dir}/u; scgi_temp_path {self.dir}/s;
              keepalive_requests 1000000;
              upstream app {{ server 127.0.0.1:{app}; keepalive 64; }}
              server {{ listen 127.0.0.1:{self.port};
                location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
            }}""")
        env = dict(os.environ, DATABASE=dsn, STATEMENT=sql, PARAMS=json.dumps(params), PORT=str(app), PROCESSES=str(processes), NODE_ENV="production")
        self.children = [subprocess.Popen(["node", "server.mjs"], cwd=self.dir, env=env, start_new_session=True),
                         subprocess.Popen(["nginx", "-p", str(self.dir), "-c", "nginx.conf"], cwd=self.dir, start_new_session=True)]
        self.url = f"http://127.0.0.1:{self.port}/list"
        until(lambda: subprocess.run(["curl", "-sf", "-o", "/dev/null", self.url]).returncode == 0, 20)

    def close(self):
        for c in self.children:
            try:
                os.killpg(c.pid, signal.SIGTERM)
                c.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(c.pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)


def web_dsn(stack):
    """The web role's connection string, from the environment of a web process."""
    pid = stack.pids("gpupool-web", "--role=api")[0]
    env = dict(e.split("=", 1) for e in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0") if "=" in e)
    return env["GPUPOOL_DATABASE"]


def node_dsn(dsn):
    """libpq's key=value form as the URL that node's pg takes."""
    kv = dict(re.findall(r"(\w+)=('[^']*'|\S+)", dsn))
    kv = {k: v.strip("'") for k, v in kv.items()}
    if "passfile" in kv:
        kv["password"] = Path(kv["passfile"]).read_text().strip().rsplit(":", 1)[1]
    from urllib.parse import quote
    port = f"&port={kv['port']}" if "port" in kv else ""
    return f"postgresql://{quote(kv['user'])}:{quote(kv.get('password', ''))}@/{kv['dbname']}?host={quote(kv['host'])}{port}"


def pgbench(dsn, sql, params, seconds, clients):
    for i, value in enumerate(params, 1):
        sql = re.sub(rf"\${i}(?!\d)", literal(value), sql)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("\n" + " ".join(sql.split()) + ";\n")
        script.flush()
        bindir = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip()
        env = dict(os.environ, PGOPTIONS="-c search_path=gpupool")
        out = subprocess.run([f"{bindir}/pgbench", "-n", "-M", "prepared", "-f", script.name, "-c", str(clients), "-j", "1",
                              "-T", str(seconds), dsn], capture_output=True, text=True, env=env)
    found = re.search(r"tps = ([\d.]+) \(without", out.stdout)
    if not found:
        raise SystemExit(out.stdout + out.stderr)
    return float(found.group(1))


def row(name, values, unit, note=""):
    print(f"| {name:<44} | {statistics.median(values):>10,.1f} {unit:<6} | {min(values):>9,.1f} … {max(values):<9,.1f} | {note} |", flush=True)


def private_kib(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(v) for v in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.M))


def bench_list(stack, rounds, seconds):
    admin = stack.admin
    for i in range(19):  # and the installation's own
        admin.post("/api/gpu/workers/notebooks", {"provider": "manual", "accelerator": "cpu", "title": f"worker {i}"})
    until(lambda: all(n["state"] in ("needs_human", "healthy") for n in admin.get("/api/gpu/workers/notebooks?limit=50")["notebooks"]), 60)
    dsn, sql, params = web_dsn(stack), statement("worker_page"), [1, True, True, 0, 21, None, None]
    peer = Peer(node_dsn(dsn), sql, params, 2)
    ours, theirs, limit, p99, peer99 = [], [], [], [], []
    try:
        for _ in range(rounds):
            r, l = wrk(f"http://127.0.0.1:{stack.port}/api/gpu/workers/notebooks?limit=20", seconds, 32,
                       [f"Authorization: Bearer {admin.token}"])
            ours.append(r)
            p99.append(l)
            r, l = wrk(peer.url, seconds, 32)
            theirs.append(r)
            peer99.append(l)
            limit.append(pgbench(dsn, sql, params, seconds, 4))
    finally:
        peer.close()
    row("list of 20, gpupool behind nginx", ours, "req/s", f"p99 {statistics.median(p99):.1f} ms; with bearer token")
    row("list of 20, Fastify + pg behind nginx", theirs, "req/s", f"p99 {statistics.median(peer99):.1f} ms; no sign-in; 2 processes")
    row("the same statement, pgbench -c4", limit, "req/s", "PostgreSQL's limit")
    row("ratio gpupool / Fastify", [a / b for a, b in zip(ours, theirs)], "x")
    row("ratio gpupool / pgbench", [a / b for a, b in zip(ours, limit)], "x")


def bench_memory(stack):
    row("private memory of an api process", [private_kib(p) / 1024 for p in stack.pids("gpupool-web", "--role=api")], "MiB", "after the load")
    row("private memory of the events processes", [private_kib(p) / 1024 for p in stack.pids("gpupool-web", "--role=events")], "MiB")


def bench_start(stack, rounds):
    admin, took = stack.admin, []
    for _ in range(rounds):
        start = time.monotonic()
        id = admin.worker()
        until(lambda: admin.notebook(id)["state"] == "healthy", 30, every=0.005)
        took.append((time.monotonic() - start) * 1000)
        admin.call("DELETE", f"/api/gpu/workers/notebooks/{id}")
        until(lambda: admin.call("GET", f"/api/gpu/workers/notebooks/{id}").status == 404, 30)
    row("POST notebook to healthy (local)", took, "ms")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=4)
    o = options.parse_args()
    print(f"{os.cpu_count()} cores, {BUILD.name}; load generator, nginx, peer and PostgreSQL share them; median of {o.rounds} rounds of {o.seconds} s\n")
    stack = Stack(GPUPOOL_LOG_LEVEL="warn")
    try:
        stack.start()
        bench_list(stack, o.rounds, o.seconds)
        bench_memory(stack)
        bench_start(stack, o.rounds)
    finally:
        stack.close()
    for program in sorted((BUILD / "tests/bench").glob("*")):
        if os.access(program, os.X_OK) and program.is_file() and not program.suffix:
            print(f"\n{program.name}:", flush=True)
            subprocess.run([str(program)], check=True)
    print("\nA simulated week:", flush=True)
    subprocess.run([str(BUILD / "tests/sim/sim")], check=True)


main()
