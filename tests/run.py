#!/usr/bin/python3
"""Runs the test suites and prints one table: what passed, what failed, how long it took.

    tests/run.py [--quick] [--only NAME[,NAME…]] [--list] [--jobs N] [--keep]

A suite is a list of commands; each command's own closing line says how many
tests it held (Check's, pytest's, or "N passed, N failed"); a command without
one counts as one test.  Commands run side by side, each in a directory of its
own ($TMPDIR, in memory where there is room) with a range of ports of its own
($GPUPOOL_TEST_PORT, 20 ports).  Some workers take from the one end of the
queue, where those stand that mostly wait, some from the other, where those
stand that compute.  A suite's seconds are the sum of its commands'.
What a suite printed is shown when it failed, and kept below build/log/.
After the table each failed test is named once more with the line that says
why, so that the end of the output is enough.  The last line is "N passed,
N failed", and the exit status says the same.
"""
import argparse
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3"  # Debian's own: its packages are what was installed
FUZZ_SECONDS = os.environ.get("FUZZ_SECONDS", "20")
WIDTH = 300  # of a line that says why a test failed
MOST = 40    # such lines


class Suite:
    """name, what it needs, and its commands; `seconds` is when a command is taken for hung;
    the more it `waits`, the nearer to that end of the queue it stands."""

    def __init__(self, name, commands, *, quick=False, waits=0, build="release", seconds=900, env=None):
        self.name, self.commands, self.quick, self.waits = name, commands, quick, waits
        self.build, self.seconds, self.env = build, seconds, env or {}
        self.passed = self.failed = self.skipped = 0
        self.took = 0.0
        self.left = len(commands)             # to be done
        self.outputs = [b""] * len(commands)
        self.why = []  # a line for each failed test


def programs(build, folder):
    """Test programs that the makefile built of tests/FOLDER/*.c."""
    sources = sorted(glob.glob(os.path.join(ROOT, "tests", folder, "*.c")))
    return [["build/%s/tests/%s/%s" % (build, folder, os.path.basename(s)[:-2])] for s in sources]


def pytest(folder):
    """A command for each file: what its tests share is made once a file."""
    files = sorted(glob.glob(os.path.join(ROOT, "tests", folder, "test_*.py")))
    return [[PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", os.path.relpath(f, ROOT)] for f in files]


def shell(*names):
    return [["sh", "tests/" + n] for n in names if os.path.exists(os.path.join(ROOT, "tests", n))]


def fuzzers():
    out = []
    for source in sorted(glob.glob(os.path.join(ROOT, "tests", "fuzz", "*.c"))):
        name = os.path.basename(source)[:-2]
        seeds = os.path.join("tests", "fuzz", name)
        corpus = [seeds] if os.path.isdir(os.path.join(ROOT, seeds)) else []
        out.append(["build/fuzz/tests/fuzz/" + name, "-max_total_time=" + FUZZ_SECONDS, "-timeout=5",
                    "-rss_limit_mb=2048", "-artifact_prefix=build/log/", "-print_final_stats=0", "-verbosity=0", "@NEW@", *corpus])
    return out


def suites():
    """In the order of the table.  BUILD of a suite: which programs it runs."""
    return [
        Suite("text", shell("layers.sh", "headers.sh", "docs.sh", "scripts.sh") + [[PYTHON, "tests/run_test.py"]], quick=True),
        Suite("unit", programs("release", "unit"), quick=True),
        Suite("spin", shell("spin.sh")),
        Suite("db", programs("release", "db")),
        Suite("http", programs("release", "http")),
        Suite("sim", [["build/release/tests/sim/sim"]]),
        Suite("agent", pytest("agent"), waits=2),
        Suite("cli", pytest("cli"), waits=1),
        Suite("kaggle", pytest("kaggle"), seconds=300),
        Suite("google", pytest("google"), seconds=300),
        Suite("e2e", pytest("e2e"), waits=3, env={"GPUPOOL_SLOW": "2"}),
        Suite("asan-unit", programs("asan", "unit"), build="asan"),
        Suite("asan-db", programs("asan", "db"), build="asan"),
        Suite("asan-http", programs("asan", "http"), build="asan"),
        Suite("asan-cli", pytest("cli"), waits=1, build="asan"),
        Suite("asan-e2e", pytest("e2e"), waits=4, build="asan", env={"GPUPOOL_SLOW": "6"}),
        Suite("fuzz", fuzzers(), build="fuzz"),
    ]


# ---- one command -----------------------------------------------------------

PATTERNS = (
    re.compile(rb"^\d+%: Checks: (?P<all>\d+), Failures: (?P<fail>\d+), Errors: (?P<err>\d+)", re.M),
    re.compile(rb"^(?:\w+: )?(?P<pass>\d+) passed, (?P<fail>\d+) failed(?:, (?P<skip>\d+) skipped)?$", re.M),
)


def word(output, name):
    found = re.findall(rb"(\d+) " + name + rb"\b", output)
    return int(found[-1]) if found else 0


def counts(output, status):
    """(passed, failed, skipped) of one command, by its closing line."""
    tail = output[-4000:]
    for pattern in PATTERNS:
        found = list(pattern.finditer(output))
        if found:
            group = found[-1].groupdict()
            failed = int(group["fail"]) + int(group.get("err") or 0)
            passed = int(group["all"]) - failed if "all" in group else int(group["pass"])
            skipped = int(group.get("skip") or 0)
            break
    else:
        last = tail.strip().rsplit(b"\n", 1)[-1]
        if re.search(rb"\b(passed|failed|error|errors|skipped)\b.* in [\d.]+s", last):
            passed, skipped = word(last, b"passed"), word(last, b"skipped")
            failed = word(last, b"failed") + word(last, b"errors?")
        else:
            passed, failed, skipped = (1, 0, 0) if status == 0 else (0, 1, 0)
    if status != 0 and failed == 0:
        failed = 1  # it died without saying so
    return passed, failed, skipped


# Check's, pytest's, the sanitizers' and libFuzzer's, ours.
WHY = re.compile(rb"""^(?: \S+:\d+:[FE]:.*
                         | (?:FAILED|ERROR)\ \S.*
                         | .*\bruntime\ error:\ .*
                         | SUMMARY:\ .*
                         | taken\ for\ hung\ .*)$""", re.M | re.X)
CLOSING = re.compile(rb"^(?:\w+: )?\d+ passed, \d+ failed.*$")


def reasons(command, output, status):
    """Of a failed command: the lines that name each failed test and say why; otherwise the last things it said."""
    found = [line.strip() for line in WHY.findall(output)]
    if not found:
        said = [line for line in output.splitlines() if line.strip() and not CLOSING.match(line)]
        found = said[-6:] or [b"exit status %d" % status]
    name = os.path.basename(next((part for part in reversed(command) if part.startswith(("build/", "tests/"))), command[0]))
    lines = [line.decode("utf-8", "replace") for line in dict.fromkeys(found)]
    return [(line if name in line else "%s: %s" % (name, line))[:WIDTH] for line in lines]


running = set()
lock = threading.Lock()


def stop_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_command(command, env, seconds, new):
    command = [new if part == "@NEW@" else part for part in command]
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            return 127, b"cannot be run: %s\n" % str(error).encode()
        with lock:
            running.add(process)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = 124
        stop_group(process)  # what it left behind, if anything
        process.wait()
        with lock:
            running.discard(process)
        out.seek(0)
        output = out.read()
    if status == 124:
        output += b"\ntaken for hung after %d s: stopped\n" % seconds
    return status, output


# ---- one suite -------------------------------------------------------------

def base_directory():
    """In memory where there is room: files come and go by the hundred thousand, which ext4 takes long for."""
    memory = "/dev/shm"
    try:
        fs = os.statvfs(memory)
    except OSError:
        return None
    roomy = fs.f_bavail * fs.f_frsize >= 4 << 30 and not fs.f_flag & os.ST_NOEXEC and os.access(memory, os.W_OK)
    return memory if roomy else None


def environment(suite, folder, number):
    env = dict(os.environ)
    env.update(TMPDIR=folder, BUILD=suite.build, GPUPOOL_BUILD=suite.build, GPUPOOL_BIN=os.path.join(ROOT, "build", suite.build),
               GPUPOOL_TEST_PORT=str(20000 + 20 * number), PYTHONDONTWRITEBYTECODE="1", CK_TIMEOUT_MULTIPLIER="2",
               COLUMNS=str(WIDTH))
    env.setdefault("ASAN_OPTIONS", "abort_on_error=1:detect_leaks=1:strict_string_checks=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    env.update(suite.env)
    return env


def run_one(suite, index, number, keep):
    """Command `index` of the suite, the `number`-th of this run."""
    command = suite.commands[index]
    # Short, for unix sockets; open, for tests whose processes have other users.
    folder = tempfile.mkdtemp(prefix="gpt-", dir=base_directory())
    os.chmod(folder, 0o711)
    new = os.path.join(folder, "corpus")
    os.mkdir(new)
    began = time.monotonic()
    status, output = run_command(command, environment(suite, folder, number), suite.seconds, new)
    took = time.monotonic() - began
    passed, failed, skipped = counts(output, status)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    with lock:
        suite.took += took
        suite.passed += passed
        suite.failed += failed
        suite.skipped += skipped
        suite.outputs[index] = b"$ %s\n%s\n-> %.1f s, exit status %d\n" % (" ".join(command).encode(), output, took, status)
        if failed:
            suite.why += reasons(command, output, status)
        suite.left -= 1
        if suite.left:
            return
        with open(os.path.join(ROOT, "build", "log", suite.name + ".txt"), "wb") as file:
            file.write(b"\n".join(suite.outputs))
        print("  %-12s %s" % (suite.name, "ok" if not suite.failed else "FAILED (build/log/%s.txt)" % suite.name), flush=True)


def run_all(chosen, jobs, keep):
    os.makedirs(os.path.join(ROOT, "build", "log"), exist_ok=True)
    ordered = sorted(chosen, key=lambda s: -s.waits)
    queue = list(enumerate((s, i) for s in ordered for i in range(len(s.commands))))

    def work(end):
        while True:
            with lock:
                if not queue:
                    return
                number, (suite, index) = queue.pop(end)
            run_one(suite, index, number, keep)

    threads = [threading.Thread(target=work, args=(0 if n % 2 == 0 else -1,), daemon=True) for n in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)


def report(chosen, took):
    for suite in chosen:
        if suite.failed:
            print("\n---- %s " % suite.name + "-" * (60 - len(suite.name)))
            text = b"\n".join(suite.outputs).decode("utf-8", "replace")
            print(text if len(text) < 20000 else text[:4000] + "\n[…]\n" + text[-16000:])
    print("\n  %-12s %8s %8s %8s %8s" % ("suite", "passed", "failed", "skipped", "seconds"))
    for suite in chosen:
        print("  %-12s %8d %8d %8d %8.1f" % (suite.name, suite.passed, suite.failed, suite.skipped, suite.took))
    passed, failed = sum(s.passed for s in chosen), sum(s.failed for s in chosen)
    print("  %-12s %8s %8s %8s %8.1f\n" % ("in all", passed, failed, sum(s.skipped for s in chosen), took))
    why = ["%s: %s" % (s.name, line) for s in chosen for line in s.why]
    if len(why) > MOST:
        why[MOST - 1:] = ["and %d more lines like these" % (len(why) - MOST + 1)]
    if why:
        print("failed:\n  %s\n" % "\n  ".join(why))
    print("%d passed, %d failed" % (passed, failed), flush=True)
    return 1 if failed or not passed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="only what needs no PostgreSQL and few seconds")
    parser.add_argument("--only", default="", help="suites by name, comma separated")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 1)
    parser.add_argument("--keep", action="store_true", help="keep the suites' directories")
    options = parser.parse_args()
    known = suites()
    only = [n for n in options.only.split(",") if n]
    for name in only:
        if name not in [s.name for s in known]:
            parser.error("no suite %s" % name)
    chosen = [s for s in known if s.commands and (not only or s.name in only) and (not options.quick or s.quick)]
    if options.list:
        print("\n".join(s.name for s in known))
        return 0

    def stop(signum, frame):
        with lock:
            for process in running:
                stop_group(process)
        os._exit(128 + signum)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    began = time.monotonic()
    run_all(chosen, max(1, options.jobs), options.keep)
    return report(chosen, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
