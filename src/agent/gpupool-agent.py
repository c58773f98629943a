#!/usr/bin/env python3
"""gpupool worker agent: registers this machine, takes jobs, runs them, reports.

    curl -fsSo gpupool-agent.py URL/agent/gpupool-agent.py && python3 gpupool-agent.py URL

One file, standard library only, Python 3.8 or later. It needs no inbound port: every call goes out to URL.

Settings (environment):
    GPUPOOL_ENROL_TOKEN    single-use token of this session; asked for without echo when absent
    GPUPOOL_PROVIDER       who started this agent (manual)
    GPUPOOL_WORK           work directory (./gpupool-work)
    GPUPOOL_SLOTS          jobs at once, 1 to 256 (one a GPU, else one)
    GPUPOOL_PIP_ARGS       further arguments of `pip install` for jobs with requirements
    GPUPOOL_LOG            file that also gets what the agent prints
    GPUPOOL_UID_BASE       as root each job gets a uid of its own from here up (61000); 0: jobs run as root
    GPUPOOL_RETRY_SECONDS  first retry after an outage comes within this time, later ones within six times it (5)
    GPUPOOL_REACH_SECONDS  a notebook's agent gives up when it cannot register for so long (60)

Exit codes: 0 clean end, 1 other, 3 token refused, 4 token used by another instance, 5 session over,
6 server not reached at start.

How the parts hang together. Before any thread exists the agent forks a *nursery*, which forks one *keeper* for each
command of a job. A keeper owns the command and all that descends from it, and kills them when the agent says so or
when the agent is gone: no job outlives its agent. The agent itself is a few loops, a thread each: claims, heartbeats,
results; a job has a thread that drives it and one that ships its log. The main thread holds the brakes: leases,
time limits, the deadline of the session.
"""
import array
import base64
import collections
import ctypes
import fcntl
import getpass
import hashlib
import http.client
import importlib.util
import itertools
import json
import os
import platform
import random
import re
import resource
import select
import shlex
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
import urllib.parse
import uuid

VERSION = "1.2.0"
PROTOCOL = 1

CLAIM_WAIT = 25                 # seconds a claim stays parked at the server
CALL_SECONDS = 30               # an ordinary request, from connect to the last byte of the reply
LOG_CHUNK = 256 << 10           # bytes of log in one request
LOG_EVERY = 0.2                 # seconds between two looks at a job's log
LOG_CAP = 65 << 20              # bytes of log kept on disk: a little more than a server stores, so that it sees that
TAIL_BYTES = 64 << 10           # end of the log, searched for a traceback
TRACEBACK_BYTES = 16 << 10
RESULT_BYTES = 1000000
PROGRESS_EVERY = 2.0            # seconds between heartbeats that only bring news of progress
ARTIFACTS_MAX = 10000
GOODBYE_LOG = 16 << 10
STOP_SECONDS = 4.0              # for handing everything back when the agent is told to stop
DEADLINE_MARGIN = 3.0           # the agent begins to stop so long before its deadline
NOTICE_MOST = 900.0             # who drains with less left drains for the deadline: jobs are told
NOTICE_OWN = 15.0               # and with so much left they are told in any case
HAND_OVER = 60.0                # a training with a checkpoint ends so long before the deadline, or at half of its notice
CHECKPOINT = "checkpoint.tar"   # the artifact that carries it from one attempt to the next
CHECKPOINT_GET = 1800           # seconds for fetching it
CHECKPOINT_PUT = 8.0            # and for sending it when the agent is told to stop
GIVE_BACK = 75                  # exit code of a training that was told and wants to go on in another session
RESULTS_WAITING = 500           # finished jobs without an answer at which no more are taken
REMEMBERED = 10000              # finished leases kept, so that a late second delivery starts nothing

NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
IDENT = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
SECRET_NAME = re.compile(r"(?!(GPUPOOL_|LD_|PYTHON|BASH_)|(PATH|HOME|TMPDIR|USER|LOGNAME)\Z)[A-Z_][A-Z0-9_]{0,63}\Z")
SECRETS_REPLY = 8 << 20

# A job's environment is built from this list; everything else of the agent's own environment stays here.
ENV_KEPT = ("PATH LANG LC_ALL LC_CTYPE TZ LD_LIBRARY_PATH LIBRARY_PATH CUDA_HOME CUDA_PATH CUDA_VERSION "
            "NVIDIA_VISIBLE_DEVICES NVIDIA_DRIVER_CAPABILITIES TPU_NAME TPU_ACCELERATOR_TYPE TPU_WORKER_ID "
            "TPU_WORKER_HOSTNAMES SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE http_proxy https_proxy no_proxy "
            "HTTP_PROXY HTTPS_PROXY NO_PROXY").split()


class Unreachable(Exception):
    """The server gave no usable answer; the same call may work later."""

    def __init__(self, text, retry_after=0.0):
        super().__init__(text)
        self.retry_after = retry_after


class Refused(Exception):
    """The server answered no (4xx) and a repeat would not change that."""

    def __init__(self, status, problem):
        super().__init__("%d %s" % (status, plain(problem.get("detail") or problem.get("title") or "", 200)))
        self.status = status
        self.problem = problem


class SessionOver(Exception):
    """401 or 410: this session, or the right to open it, has ended."""

    def __init__(self, status, text):
        super().__init__(text)
        self.code = {401: 3, 409: 4, 410: 5}[status]


class JobFailed(Exception):
    """A job cannot succeed; the arguments are error type and message."""


class JobStopped(Exception):
    """A job was stopped from outside while it was being prepared."""


# ---- small tools ------------------------------------------------------------------------------------------------

def _clock():
    """Monotonic seconds that go on counting while the machine sleeps: a lease does not wait for a laptop's lid."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        time.clock_gettime(clock)
        return lambda: time.clock_gettime(clock)
    except (TypeError, AttributeError, OSError):
        return time.monotonic


now = _clock()


def plain(text, limit):
    """Foreign text made fit for one line of a log."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:limit]


def number(value, default=0.0):
    """A finite number that is not negative, else the default; servers may send what they like."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if good else default


def prctl(option, value):
    """Linux prctl(2); False where there is none."""
    try:
        return ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0
    except (OSError, AttributeError, TypeError):
        return False


PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36


def open_plain(path, owner=None, dir_fd=None):
    """Open for reading what must be a plain file. Jobs choose what lies there: no links, no devices, nobody else's."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode) or (owner and info.st_uid != owner):
        os.close(fd)
        raise OSError("not a plain file of the job")
    return os.fdopen(fd, "rb")


def remove_tree(path):
    """Delete a directory, also when a job took away its own permissions in it."""
    def again(function, name, _):
        try:
            os.chmod(os.path.dirname(name), 0o700)
            if os.path.isdir(name) and not os.path.islink(name):
                os.chmod(name, 0o700)
                shutil.rmtree(name, ignore_errors=True)
            else:
                function(name)
        except OSError:
            pass
    shutil.rmtree(path, onerror=again)


class Journal:
    """What the agent says: to stderr, to GPUPOOL_LOG, and the last 16 KiB kept for the goodbye."""

    def __init__(self):
        self._lock = threading.Lock()
        self._tail = collections.deque()
        self._size = 0
        self._file = None

    def also_to(self, path):
        self._file = open(path, "a", encoding="utf-8", errors="backslashreplace")

    def __call__(self, text, *args):
        line = "%s %s\n" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), plain(text % args, 1000))
        with self._lock:
            self._tail.append(line)
            self._size += len(line)
            while self._size > GOODBYE_LOG // 2:
                self._size -= len(self._tail.popleft())
            for stream in (sys.stderr, self._file):
                try:
                    if stream:
                        stream.write(line)
                        stream.flush()
                except (OSError, ValueError):
                    pass

    def tail(self):
        with self._lock:
            return "".join(self._tail)


say = Journal()


class Backoff:
    """Exponential backoff with full jitter: many agents that lost one server do not return in step."""

    def __init__(self, first, most=None):
        self._first, self._most, self._tries = first, most or 6 * first, 0

    def reset(self):
        self._tries = 0

    def delay(self, at_least=0.0):
        window = min(self._most, self._first * 2 ** min(self._tries, 16))
        self._tries += 1
        return at_least + random.uniform(0, window)


class Deadline:
    """When the session must end, learnt from replies that say "in so many seconds".

    The reply was made somewhere between sending and receiving, so each one bounds the deadline from both sides; a
    parked claim would otherwise move it by the time it was parked.
    """

    def __init__(self, at=None):
        self.at = at

    def learn(self, reply, sent):
        if "deadlineSeconds" not in reply:
            return
        seconds = number(reply["deadlineSeconds"], None)
        if seconds is None:
            self.at = None
        elif self.at is None:
            self.at = sent + seconds
        else:
            self.at = min(max(self.at, sent + seconds), now() + seconds)


# ---- settings and the way in ------------------------------------------------------------------------------------

class Settings:
    """What the environment says, checked once."""

    def __init__(self, env):
        self.provider = env.get("GPUPOOL_PROVIDER") or "manual"
        self.work = os.path.abspath(env.get("GPUPOOL_WORK") or "gpupool-work")
        self.slots = self._number(env, "GPUPOOL_SLOTS", 0, 1, 256)
        self.pip_args = shlex.split(env.get("GPUPOOL_PIP_ARGS") or "")
        self.log = env.get("GPUPOOL_LOG")
        self.uid_base = self._number(env, "GPUPOOL_UID_BASE", 61000, 0, 1 << 31) if os.geteuid() == 0 else 0
        self.retry = self._number(env, "GPUPOOL_RETRY_SECONDS", 5.0, 0.01, 600, float)
        self.reach = self._number(env, "GPUPOOL_REACH_SECONDS", 60.0, 0.1, 86400, float)

    @staticmethod
    def _number(env, name, default, low, high, kind=int):
        text = env.get(name)
        if not text:
            return default
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise SystemExit("gpupool-agent: %s must be a number from %s to %s" % (name, low, high))
        return value


class Handoff:
    """Passes secrets to a fresh image of this program over a pipe.

    Deleting a variable from os.environ leaves it readable in /proc/PID/environ; only exec with another environment
    takes it away. The same way carries a session through an upgrade.
    """
    VARIABLE = "GPUPOOL_HANDOFF"

    @classmethod
    def send(cls, program, state):
        reader, writer = os.pipe()
        os.set_inheritable(reader, True)
        os.write(writer, json.dumps(state).encode() + b"\n")
        os.close(writer)
        env = {k: v for k, v in os.environ.items() if k != "GPUPOOL_ENROL_TOKEN"}
        env[cls.VARIABLE] = str(reader)
        os.execve(sys.executable, [sys.executable, program] + sys.argv[1:], env)

    @classmethod
    def descriptor(cls):
        text = os.environ.pop(cls.VARIABLE, None)
        return int(text) if text and text.isdigit() else None

    @staticmethod
    def receive(fd):
        with os.fdopen(fd, "rb") as pipe:
            return json.loads(pipe.read(1 << 16))


def ask_token():
    token = os.environ.get("GPUPOOL_ENROL_TOKEN")
    if not token:
        token = getpass.getpass("Enrolment token: ") if sys.stdin.isatty() else sys.stdin.readline()
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise SystemExit("gpupool-agent: no usable enrolment token")
    return token


def close_inherited():
    """Descriptors that our starter leaked must not reach jobs."""
    try:
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.close(int(name))
                except OSError:
                    pass
    except OSError:
        os.closerange(3, 1024)


# ---- the machine ------------------------------------------------------------------------------------------------

class Machine:
    """What this machine offers: GPUs, TPU, processors, memory."""
    QUERY = ["nvidia-smi", "--format=csv,noheader,nounits"]
    TORCH = ("import json,torch\n"
             "g=[torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]\n"
             "print(json.dumps([{'name':p.name,'memoryBytes':p.total_memory,'driver':'cuda '+str(torch.version.cuda)}"
             " for p in g]))")

    def __init__(self):
        self.gpus, self.devices = self._nvidia()
        if not self.gpus and importlib.util.find_spec("torch"):
            self.gpus = self._torch()
            self.devices = [str(i) for i in range(len(self.gpus))]

    @staticmethod
    def _output(argv, seconds):
        try:
            # close_fds would walk /proc/self/fd, closed to a process that is not dumpable; ours all close on exec.
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  timeout=seconds, close_fds=False)
            return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
        except (OSError, subprocess.SubprocessError):
            return ""

    def _nvidia(self):
        fields = "--query-gpu=index,uuid,name,memory.total,driver_version"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = visible.replace(" ", "").split(",") if visible is not None else None
        gpus, devices = [], []
        for line in self._output(self.QUERY + [fields], 20).splitlines():
            cells = [cell.strip() for cell in line.split(",")]
            if len(cells) != 5 or not cells[3].isdigit():
                continue
            if visible is not None and not any(v and (v == cells[0] or cells[1].startswith(v)) for v in visible):
                continue
            gpus.append({"name": cells[2], "memoryBytes": int(cells[3]) << 20, "driver": cells[4]})
            devices.append(cells[0])
        return gpus, devices

    def _torch(self):
        try:
            found = json.loads(self._output([sys.executable, "-c", self.TORCH], 120))
            return found if isinstance(found, list) else []
        except ValueError:
            return []

    def usage(self):
        """Mean utilisation in percent and memory in bytes of all GPUs together, or None."""
        if not self.gpus:
            return None
        query = ["--query-gpu=utilization.gpu,memory.used,memory.total", "--id=" + ",".join(self.devices)]
        try:
            lines = self._output(self.QUERY + query, 5).splitlines()
            rows = [[int(cell) for cell in line.split(",")] for line in lines]
            load, used, total = (sum(column) for column in zip(*rows))
            return {"utilization": load / len(rows), "memoryUsed": used << 20, "memoryTotal": total << 20}
        except ValueError:
            return None

    @staticmethod
    def has_tpu():
        named = any(os.environ.get(name) for name in ("TPU_NAME", "TPU_ACCELERATOR_TYPE", "COLAB_TPU_ADDR"))
        return named or os.path.exists("/dev/accel0")

    def capabilities(self, slots):
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return {"gpus": self.gpus, "tpu": self.has_tpu(), "slots": slots, "cpus": cpus,
                "memoryBytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                "python": platform.python_version(), "platform": platform.platform()}


# ---- talking to the server --------------------------------------------------------------------------------------

class Watch(threading.Thread):
    """Ends requests that pass their deadline. Socket timeouts bound each read; only this bounds a reply that drips."""

    def __init__(self):
        super().__init__(name="watch", daemon=True)
        self._lock = threading.Lock()
        self._open = {}

    def add(self, conn, deadline):
        with self._lock:
            self._open[conn] = deadline

    def remove(self, conn):
        with self._lock:
            self._open.pop(conn, None)

    def run(self):
        while True:
            time.sleep(0.25)
            with self._lock:
                late = [conn.sock for conn, deadline in self._open.items() if deadline < now()]
            for sock in late:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except (OSError, AttributeError):
                    pass


class Link:
    """One keep-alive connection to the server, used by one thread."""

    def __init__(self, base, watch, context):
        self._base, self._watch, self._context, self._conn = base, watch, context, None

    def call(self, method, path, headers, body=None, seconds=CALL_SECONDS, limit=1 << 20, sink=None):
        """One request → (status, headers, bytes). Every call of this contract may be repeated, so a connection that
        had been closed while idle costs a second try, not an error. With a `sink` the bytes of a good reply go into
        that file, however many they are."""
        deadline = now() + seconds
        while True:
            reused = self._conn is not None
            try:
                return self._once(method, path, headers, body, deadline, limit, sink)
            except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
                self.close()
                if not (reused and isinstance(error, (ConnectionError, http.client.BadStatusLine))
                        and now() < deadline):
                    raise Unreachable("%s: %s" % (type(error).__name__, plain(error, 200)))

    def _once(self, method, path, headers, body, deadline, limit, sink):
        conn = self._conn = self._conn or self._connect()
        conn.timeout = max(0.1, min(10.0, deadline - now()))
        self._watch.add(conn, deadline)
        try:
            if conn.sock is None:
                conn.connect()
                conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conn.sock.settimeout(max(0.1, deadline - now()))
            if hasattr(body, "seek"):
                body.seek(0)
            try:
                conn.request(method, self._base.path + path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                pass                            # it may have answered before it hung up, as for a body too large
            reply = conn.getresponse()
            if sink is not None and reply.status == 200:
                sink.seek(0)
                sink.truncate()
                for block in iter(lambda: reply.read(1 << 20), b""):
                    sink.write(block)
            data = reply.read(limit + 1)
            if len(data) > limit or reply.length:
                raise ValueError("reply too large or cut short")
            if reply.will_close or not reply.isclosed():
                self.close()
            return reply.status, reply.headers, data
        finally:
            self._watch.remove(conn)

    def _connect(self):
        host, port = self._base.hostname, self._base.port
        if self._base.scheme == "https":
            return http.client.HTTPSConnection(host, port, context=self._context, blocksize=65536)
        return http.client.HTTPConnection(host, port, blocksize=65536)

    def close(self):
        if self._conn is not None:
            self._conn.close()
            self._conn = None


class Server:
    """The server's routes, and what their answers mean. Holds the tokens; nothing else does."""

    def __init__(self, url):
        base = urllib.parse.urlsplit(url.rstrip("/"))
        if base.scheme not in ("http", "https") or not base.hostname or base.username or base.query:
            raise SystemExit("gpupool-agent: the server's address must be like https://pool.example.org")
        self._base = base
        self._context = ssl.create_default_context() if base.scheme == "https" else None
        self._watch = Watch()
        self._token = None
        self._worker = None

    def start(self):
        self._watch.start()

    def link(self):
        return Link(self._base, self._watch, self._context)

    def adopt(self, worker, token):
        self._worker, self._token = worker, token

    def session(self):
        return {"worker": self._worker, "token": self._token}

    def register(self, link, token, body):
        return self._json(link, "POST", "/api/gpu/workers/auto-register", body, token=token, over=(401, 409, 410))

    def worker(self, link, verb, body, seconds=CALL_SECONDS, limit=1 << 20):
        path = "/api/gpu/workers/%s/%s" % (urllib.parse.quote(str(self._worker), safe=""), verb)
        return self._json(link, "POST", path, body, seconds=seconds, limit=limit)

    def log(self, link, job, offset, data):
        path = "/api/gpu/jobs/%s/logs?lease=%s&offset=%d" % (job.id, job.lease, offset)
        return self._json(link, "POST", path, data, headers={"Content-Type": "application/octet-stream"}, over=(401,))

    def secrets(self, link, job):
        """Secrets of a job whose lease we hold. A lease that is void answers 410, which here does not end the session."""
        path = "/api/gpu/workers/%s/secrets" % urllib.parse.quote(str(self._worker), safe="")
        return self._json(link, "POST", path, {"lease": job.lease}, over=(401,), limit=SECRETS_REPLY)

    def artifact(self, link, job, name, body, size, digest):
        path = "/api/gpu/jobs/%s/artifacts/%s?lease=%s" % (job.id, urllib.parse.quote(name), job.lease)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size),
                   "Content-Digest": "sha-256=:%s:" % base64.b64encode(digest).decode()}
        return self._json(link, "PUT", path, body, headers=headers, over=(401,), seconds=60 + size / 65536)

    def checkpoint(self, link, job, file):
        """What an earlier attempt left, into this file; False when there is nothing."""
        headers = {"Authorization": "Bearer " + self._token, "User-Agent": "gpupool-agent/" + VERSION}
        path = "/api/gpu/jobs/%s/checkpoint?lease=%s" % (job.id, job.lease)
        status, _, _ = link.call("GET", path, headers, seconds=CHECKPOINT_GET, sink=file)
        if status in (200, 404):
            return status == 200
        if status == 401:
            raise SessionOver(status, "the token is not known")
        if status in (408, 425, 429) or status >= 500:
            raise Unreachable("status %d" % status)
        raise Refused(status, {})

    def agent_source(self, link):
        status, _, data = link.call("GET", "/agent/gpupool-agent.py", {"User-Agent": "gpupool-agent/" + VERSION})
        if status != 200:
            raise Unreachable("status %d" % status)
        return data

    def _json(self, link, method, path, body, token=None, headers=None, over=(401, 410), seconds=CALL_SECONDS,
              limit=1 << 20):
        headers = dict(headers or {"Content-Type": "application/json"})
        headers["Authorization"] = "Bearer " + (token or self._token)
        headers["User-Agent"] = "gpupool-agent/" + VERSION
        if isinstance(body, dict):
            body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        status, got, data = link.call(method, path, headers, body, seconds, limit)
        try:
            answer = {} if status == 204 else json.loads(data)  # a reply that broke off may look like an empty one
            if not isinstance(answer, dict):
                raise ValueError
        except (ValueError, RecursionError):
            answer = None
        if 200 <= status < 300 and answer is not None:
            return answer
        if status in over:
            raise SessionOver(status, "%d %s" % (status, plain((answer or {}).get("detail") or "", 200)))
        if 200 <= status < 300 or status in (408, 425, 429) or status >= 500:
            after = got.get("Retry-After") or ""
            raise Unreachable("status %d" % status, min(60.0, float(after)) if after.isdigit() else 0.0)
        raise Refused(status, answer or {})


# ---- processes --------------------------------------------------------------------------------------------------

class Keeper:
    """Runs one command and owns everything that descends from it; a single-threaded process of its own.

    It reads one line of JSON, says `+`, starts the command in a session of its own, copies what it prints to the log
    file, and obeys single bytes: `n` tells the command's group that its session ends soon (SIGURG, which is ignored
    where nobody asks for it), `t` asks it to end and kills all after a second, `k` kills at once. So does the end of the control socket, which is how the death of the agent is known. Being a subreaper it inherits
    every daemon that the command leaves behind; it reports the end only when not one descendant is left.
    """
    GRACE = 1.0

    def __init__(self, control):
        self._control = control
        self._main = 0
        self._status = None
        self._sweeping = False
        self._kill_at = None
        self._tail = b""
        self._early = b""                       # an order that came along with the first line

    def run(self):
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        spec = self._spec()
        if spec is None:
            return
        self._room = spec["logCap"] - os.path.getsize(spec["log"])
        self._log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._control.sendall(b"+")
        pipe = self._launch(spec)
        self._loop(pipe, wake)
        self._drain(pipe)
        if self._tail:
            with open(spec["log"] + ".tail", "wb") as tail:
                tail.write(self._tail)
        report = {"signal": -self._status} if self._status < 0 else {"exit": self._status}
        self._control.sendall(json.dumps(report).encode() + b"\n")

    def _spec(self):
        data = b""
        while b"\n" not in data:
            more = self._control.recv(1 << 16)
            if not more:
                return None
            data += more
        line, _, self._early = data.partition(b"\n")
        return json.loads(line)

    def _launch(self, spec):
        """Fork the command and wait until it is itself: a signal sent earlier would meet a copy of this keeper."""
        reader, writer = os.pipe()
        running, closes_on_exec = os.pipe()
        self._main = os.fork()
        if self._main == 0:
            try:
                self._become(spec, writer)
            except BaseException as error:
                os.write(2, ("[gpupool] cannot run %s: %s\n" % (spec["argv"][0], error)).encode("utf-8", "replace"))
            os._exit(127)
        os.close(writer)
        os.close(closes_on_exec)
        os.read(running, 1)
        os.close(running)
        os.set_blocking(reader, False)
        return reader

    @staticmethod
    def _become(spec, writer):
        """In the child: turn into the command, with nothing of ours but its environment and its output."""
        keeper = os.getppid()
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(signum, signal.SIG_DFL)
        prctl(PR_SET_DUMPABLE, 1)
        try:
            with open("/proc/self/oom_score_adj", "w") as score:    # when memory ends, the job goes before the agent
                score.write("500")
        except OSError:
            pass
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.umask(spec["umask"])
        if spec["uid"]:
            os.setgroups([])
            os.setgid(spec["uid"])
            os.setuid(spec["uid"])
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(127)
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])

    def _loop(self, pipe, wake):
        watched = [pipe, wake, self._control]
        if self._early:
            self._obey(self._early)
        while not self._reap():
            if self._kill_at is not None and now() >= self._kill_at:
                self._sweeping = True
            if self._sweeping:
                self._kill_all()
            wait = 0.02 if self._sweeping else None if self._kill_at is None else max(0.0, self._kill_at - now())
            ready, _, _ = select.select(watched, [], [], wait)
            if wake in ready:
                os.read(wake, 4096)
            if pipe in ready and not self._pump(pipe):
                watched.remove(pipe)
            if self._control in ready and not self._obey(self._order()):
                watched.remove(self._control)

    def _order(self):
        try:
            return self._control.recv(16)
        except OSError:
            return b""

    def _obey(self, order):
        if b"n" in order:
            self._signal_group(signal.SIGURG)
        if not order or b"k" in order:
            self._sweeping = True
        elif b"t" in order and self._kill_at is None:
            self._kill_at = now() + self.GRACE
            self._signal_group(signal.SIGTERM)
        return bool(order)

    def _reap(self):
        """Collect what ended; true when no child is left."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return True
            if ended is None:
                return False
            if ended.si_pid == self._main:      # still a zombie, so the number of its group is still its own
                self._signal_group(signal.SIGKILL)
                self._sweeping = True
            pid, status = os.waitpid(ended.si_pid, 0)
            if pid == self._main:
                self._main = 0
                self._status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _signal_group(self, signum):
        try:
            if self._main:
                os.killpg(self._main, signum)
        except OSError:
            pass

    def _kill_all(self):
        self._signal_group(signal.SIGKILL)
        for pid in self._descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    @staticmethod
    def _descendants():
        children = collections.defaultdict(list)
        try:
            pids = [name for name in os.listdir("/proc") if name.isdigit()]
        except OSError:
            return []
        for pid in pids:
            try:
                with open("/proc/%s/stat" % pid, "rb") as file:
                    parent = int(file.read().rsplit(b")", 1)[1].split()[1])
                children[parent].append(int(pid))
            except (OSError, IndexError, ValueError):
                continue
        found, queue = [], [os.getpid()]
        while queue:
            below = children[queue.pop()]
            found += below
            queue += below
        return found

    def _pump(self, pipe):
        """Copy one piece of output to the log; past the cap only the end is kept. False at the end of the pipe."""
        try:
            data = os.read(pipe, 65536)
        except BlockingIOError:
            return True
        kept = data[:max(0, self._room)]
        self._room -= len(kept)
        if len(kept) < len(data):
            self._tail = (self._tail + data)[-TAIL_BYTES:]
        try:
            while kept:
                kept = kept[os.write(self._log, kept):]
        except OSError:
            pass                                # a full disk loses log, never the job
        return bool(data)

    def _drain(self, pipe):
        for _ in range(64):                     # more than a pipe holds; its writers are all dead
            if not select.select([pipe], [], [], 0)[0] or not self._pump(pipe):
                return


class Child:
    """The agent's side of a keeper."""

    def __init__(self, control):
        self._control = control

    def order(self, byte):
        try:
            self._control.sendall(byte)
        except OSError:
            pass

    def wait(self):
        """Blocks until nothing of the command is left → {"exit": n} or {"signal": n}."""
        data = b""
        while not data.endswith(b"\n"):
            try:
                more = self._control.recv(4096)
            except ConnectionError:             # it died with an order unread
                more = b""
            if not more:
                break
            data += more
        self._control.close()
        if not data:
            raise ConnectionError("no keeper: the nursery is gone")
        if not data.endswith(b"\n"):
            raise JobFailed("agent", "the keeper of the job's process was killed")
        return json.loads(data[1:])


class Nursery:
    """Forks keepers. It is forked before the agent has threads or tokens: a fork of it is safe, cheap and knows
    nothing. Keepers live in its session, so that a signal to the agent's group does not reach them first."""

    def __init__(self, closed):
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        if os.fork() == 0:
            status = 1
            try:
                self._socket.close()
                os.close(closed)
                self._serve(theirs)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    @staticmethod
    def _serve(agent):
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_IGN)
        while True:
            data, extra, _, _ = agent.recvmsg(1, socket.CMSG_SPACE(4))
            if not data:
                return
            control = socket.socket(fileno=array.array("i", extra[0][2][:4])[0])
            os.set_inheritable(control.fileno(), False)
            if os.fork() == 0:
                agent.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                Keeper(control).run()
                os._exit(0)
            control.close()

    def spawn(self, spec):
        ours, theirs = socket.socketpair()
        with self._lock:
            self._socket.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
        theirs.close()
        ours.sendall(json.dumps(spec).encode() + b"\n")
        return Child(ours)


class Uids:
    """Lends each job a uid of its own when the agent is root; 0 means "run as we are".

    Several agents may run on one machine: a name in the abstract socket namespace is held by one process only and is
    free again when that process is gone, however it went.
    """

    def __init__(self, base):
        self._base, self._held = base, {}

    def take(self):
        if not self._base:
            return 0
        for uid in range(self._base, self._base + 4096):
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                lock.bind("\0gpupool-uid-%d" % uid)
                self._held[uid] = lock
                return uid
            except OSError:
                lock.close()
        raise JobFailed("agent", "no free uid for the job")

    def give_back(self, uid):
        if uid:
            self._held.pop(uid).close()


# ---- a job's payload and directory ------------------------------------------------------------------------------

class Payload:
    """A job's payload, checked: argv after the interpreter or a whole command, environment, files, requirements."""

    def __init__(self, spec):
        payload = spec.get("payload")
        if spec.get("endpoint") or not isinstance(payload, dict) or not ("code" in payload or "command" in payload):
            raise JobFailed("unsupported", "this agent runs payloads with code or command only")
        self.code = payload.get("code")
        self.command = self._strings(payload, "command") if self.code is None else None
        self.args = self._strings(payload, "args")
        self.requirements = [text.strip() for text in self._strings(payload, "requirements")]
        self.env = payload.get("env") or {}
        self.secrets = self._names(spec.get("secrets") or [])
        self.files = {}
        if self.code is not None and not isinstance(self.code, str):
            raise JobFailed("payload", "code must be a string")
        if self.command is not None and not self.command:
            raise JobFailed("payload", "command must name a program")
        self._check_env()
        for text in self.requirements:
            if not text or text.startswith("-") or not text.isprintable():
                raise JobFailed("requirements", "not a requirement: %s" % plain(text, 80))
        files = payload.get("files") or {}
        if not isinstance(files, dict):
            raise JobFailed("payload", "files must be an object")
        for name, value in files.items():
            self.files[name] = self._file(name, value)

    @staticmethod
    def _names(secrets):
        if not isinstance(secrets, list):
            raise JobFailed("payload", "secrets must be a list of names")
        for name in secrets:
            if not isinstance(name, str) or not SECRET_NAME.match(name):
                raise JobFailed("payload", "secrets: %s cannot be set" % plain(name, 80))
        return secrets

    @staticmethod
    def _strings(payload, field):
        value = payload.get(field) or []
        if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
            raise JobFailed("payload", "%s must be a list of strings" % field)
        return value

    def _check_env(self):
        if not isinstance(self.env, dict):
            raise JobFailed("payload", "env must be an object")
        for name, value in self.env.items():
            if not ENV_NAME.match(name) or name.startswith("GPUPOOL_"):
                raise JobFailed("payload", "env: %s cannot be set" % plain(name, 80))
            if not isinstance(value, str) or "\0" in value:
                raise JobFailed("payload", "env: %s must be a string" % name)

    @staticmethod
    def _file(name, value):
        if not good_name(name):
            raise JobFailed("payload", "files: bad name %s" % plain(name, 80))
        try:
            if isinstance(value, dict):
                return base64.b64decode(value["base64"], validate=True)
            return value.encode()
        except (KeyError, TypeError, ValueError, AttributeError):
            raise JobFailed("payload", "files: %s must be text or {base64}" % name)


def good_name(name):
    """Names of artifacts and inputs: up to 8 segments, none of them a way out."""
    parts = name.split("/")
    return len(parts) <= 8 and all(NAME.match(part) and part not in (".", "..") for part in parts)


class JobDir:
    """The directory of one attempt. The job owns only the folders in it, so it can replace nothing that the agent
    opens by name; everything read back is opened as a plain file of the job or not at all."""
    FOLDERS = ("run", "home", "box", "out", "inputs", "checkpoint")

    def __init__(self, path, tmp, uid):
        self.path, self.tmp, self.uid = path, tmp, uid
        os.mkdir(path, 0o711)
        self.log = self("log")
        os.close(os.open(self.log, os.O_CREAT | os.O_WRONLY, 0o600))
        for folder in self._folders():
            os.mkdir(folder, 0o700)
            if uid:
                os.chown(folder, uid, uid)

    def _folders(self):
        return [self(name) for name in self.FOLDERS] + [self.tmp]

    def remove(self):
        remove_tree(self.path)
        remove_tree(self.tmp)

    def __call__(self, *names):
        return os.path.join(self.path, *names)

    def fill(self, payload):
        if payload.code is not None:
            self._write(self("run", "main.py"), payload.code.encode("utf-8", "surrogatepass"))
        for name, data in payload.files.items():
            path = self("inputs", *name.split("/"))
            try:
                os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
                self._write(path, data)
            except OSError as error:
                raise JobFailed("payload", "files: %s: %s" % (name, error.strerror))
        if self.uid:
            own_tree(self("run"), self.uid)
            own_tree(self("inputs"), self.uid)

    @staticmethod
    def _write(path, data):
        with open(path, "xb") as file:
            file.write(data)

    def note(self, text):
        """A line of ours in the job's log."""
        try:
            with open(self.log, "ab") as log:
                log.write(("[gpupool] %s\n" % plain(text, 1000)).encode("utf-8", "replace"))
        except OSError:
            pass                                # a full disk loses log, never the job

    def result(self):
        """The value that the job left in $GPUPOOL_RESULT; None when it left none."""
        try:
            with open_plain(self("box", "result.json"), self.uid) as file:
                data = file.read(RESULT_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JobFailed("result_invalid", "result: %s" % error)
        if len(data) > RESULT_BYTES:
            raise JobFailed("result_too_large", "the result is larger than %d bytes" % RESULT_BYTES)
        try:
            value = json.loads(data.decode("utf-8"), parse_constant=self._no_constant)
            again = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
            if NUL.search(again):
                raise ValueError("U+0000 cannot be stored")
        except (ValueError, RecursionError) as error:
            raise JobFailed("result_invalid", "the result is not JSON: %s" % plain(error, 200))
        if len(again) > RESULT_BYTES:
            raise JobFailed("result_too_large", "the result is larger than %d bytes" % RESULT_BYTES)
        return value

    @staticmethod
    def _no_constant(name):
        raise ValueError("%s has no place in JSON" % name)

    def progress(self):
        """The last complete line of the progress file that makes sense, as {fraction, message}."""
        try:
            with open_plain(self("box", "progress"), self.uid) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read(4096).decode("utf-8", "replace").split("\n")[:-1]
        except OSError:
            return None
        for line in reversed(lines):
            head, _, message = line.strip().partition(" ")
            try:
                fraction = float(head)
            except ValueError:
                continue
            if fraction == fraction:
                return {"fraction": min(1.0, max(0.0, fraction)), "message": plain(message.strip(), 200).strip()}
        return None

    def tail(self):
        """The end of what the job printed."""
        for path in (self.log + ".tail", self.log):
            try:
                with open(path, "rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                    return file.read(TAIL_BYTES).decode("utf-8", "replace")
            except OSError:
                continue
        return ""

    def notice(self, seconds):
        """Say in a file of ours, which the job may read, that its session ends."""
        text = json.dumps({"reason": "deadline", "seconds": round(seconds)}) + "\n"
        with open(self("notice.new"), "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        os.replace(self("notice.new"), self("notice"))

    def has_checkpoint(self):
        return bool(os.listdir(self("checkpoint")))

    def pack(self):
        """The plain files of the checkpoint directory as one file, since half of a checkpoint is none. No process of
        the job is left."""
        file = open(self(CHECKPOINT), "w+b")
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for folder, _, names, fd in os.fwalk(self("checkpoint"), follow_symlinks=False):
                for name in sorted(names):
                    try:
                        data = open_plain(name, self.uid, dir_fd=fd)
                    except OSError as error:
                        self.note("checkpoint: %s is left out: %s" % (name, error))
                        continue
                    with data:
                        path = os.path.join(folder, name)
                        info = tarfile.TarInfo(os.path.relpath(path, self("checkpoint")))
                        info.size = os.fstat(data.fileno()).st_size
                        tar.addfile(info, data)
        file.seek(0)
        return file

    def unpack(self, file):
        """What pack() made. A job may have left another file of that name, so nothing but plain files below the
        directory is made of it, and no more bytes than it has."""
        room = os.fstat(file.fileno()).st_size
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                parts = member.name.split("/")
                room -= member.size
                if not member.isreg() or room < 0 or not all(parts) or "." in parts or ".." in parts:
                    raise ValueError("%s has no place in it" % plain(member.name, 200))
                path = self("checkpoint", *parts)
                os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
                with open(path, "xb") as out:
                    shutil.copyfileobj(tar.extractfile(member), out)
        if self.uid:
            own_tree(self("checkpoint"), self.uid)

    def empty_checkpoint(self):
        for name in os.listdir(self("checkpoint")):
            path = self("checkpoint", name)
            remove_tree(path) if os.path.isdir(path) else os.unlink(path)

    def artifacts(self):
        """Yields (name, open file, None) for what can be uploaded and (name, None, why) for what cannot."""
        top = os.open(self("out"), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        yield from self._walk(top, "", 1)

    def _walk(self, folder, prefix, depth):
        try:
            for name in sorted(os.listdir(folder)):
                yield from self._entry(folder, name, prefix + name, depth)
        except OSError as error:
            yield prefix or "out", None, error.strerror
        finally:
            os.close(folder)

    def _entry(self, folder, name, path, depth):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            yield path, None, "not a plain file"
        elif not good_name(path):
            yield path, None, "names have up to 8 parts of A-Z a-z 0-9 . _ -"
        elif stat.S_ISDIR(mode):
            yield from self._walk(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                                          dir_fd=folder), path + "/", depth + 1)
        else:
            try:
                file = open_plain(name, self.uid, dir_fd=folder)
            except OSError as error:
                yield path, None, str(error)
                return
            with file:
                yield path, file, None


class Workplace:
    """The agent's directories: one for this run, locked while we live, and the kept environments beside it.

    Jobs' temporary directories have short names, also where the work directory has a long one: multiprocessing puts
    sockets there, and the path of a socket has 107 bytes.
    """
    SHORT = 56

    def __init__(self, work, instance, by_uid, transient=False):
        self._work, self._transient = work, transient
        mode = 0o711 if by_uid else 0o700       # jobs' own uids have to pass through
        os.makedirs(work, mode, exist_ok=True)
        self.venvs = os.path.join(work, "venvs")
        os.makedirs(self.venvs, 0o755, exist_ok=True)
        self._run = os.path.join(work, "run-" + instance[:8])
        with open(os.path.join(work, "lock"), "w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            self._sweep(work)
            os.mkdir(self._run, mode)
            self._mark = open(os.path.join(self._run, "lock"), "w")
            fcntl.flock(self._mark, fcntl.LOCK_EX)
        self.results = os.path.join(self._run, "results")
        os.mkdir(os.path.join(self._run, "jobs"), mode)
        self._tmp = os.path.join(self._run, "tmp")
        if len(self._tmp) <= self.SHORT:
            os.mkdir(self._tmp, mode)
        else:
            short = [path for path in (tempfile.gettempdir(), "/tmp") if len(path) < 38 and os.access(path, os.W_OK)]
            target = tempfile.mkdtemp(prefix="gpupool-", dir=short[0] if short else None)
            os.chmod(target, mode)
            os.symlink(target, self._tmp)
            self._tmp = target
        self._count = itertools.count(1)

    def job_dir(self, uid):
        name = str(next(self._count))
        return JobDir(os.path.join(self._run, "jobs", name), os.path.join(self._tmp, name), uid)

    def remove(self):
        self._remove(self._run)
        if self._transient:
            remove_tree(self._work)

    @staticmethod
    def _remove(run):
        tmp = os.path.join(run, "tmp")
        if os.path.islink(tmp) and os.path.basename(os.readlink(tmp)).startswith("gpupool-"):
            remove_tree(os.readlink(tmp))
        remove_tree(run)

    @classmethod
    def _sweep(cls, work):
        """Remove what agents left that were killed; a live one holds the lock of its directory."""
        for name in os.listdir(work):
            try:
                if name.startswith("run-"):
                    with open(os.path.join(work, name, "lock"), "r+") as mark:
                        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        cls._remove(os.path.join(work, name))
            except OSError:
                continue


def own_tree(path, uid, mask=0o777):
    """Give a tree to a uid, following no link. `mask` takes permissions away."""
    os.chown(path, uid, uid, follow_symlinks=False)
    for _, folders, files, fd in os.fwalk(path, follow_symlinks=False):
        for name in folders + files:
            os.chown(name, uid, uid, dir_fd=fd, follow_symlinks=False)
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISLNK(info.st_mode) and stat.S_IMODE(info.st_mode) & ~mask:
                os.chmod(name, stat.S_IMODE(info.st_mode) & mask, dir_fd=fd)


class Venvs:
    """Virtual environments, one for each set of requirements, kept between jobs.

    Made under a name of its own and then published by renaming a link: scripts inside know the path they were made
    at, so the directory itself cannot be renamed.
    """

    def __init__(self, path, pip_args):
        self._path, self._pip_args = path, pip_args
        self._guard = threading.Lock()
        self._locks = collections.defaultdict(threading.Lock)

    def get(self, job, requirements):
        wanted = sorted(set(requirements))
        text = json.dumps([wanted, sys.executable, platform.python_version(), self._pip_args])
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        with self._guard:
            lock = self._locks[key]
        while not lock.acquire(timeout=0.1):
            job.check_stopped()
        try:
            published = os.path.join(self._path, key)
            if not os.path.exists(os.path.join(published, "bin", "python")):
                self._make(job, wanted, published)
            return os.path.realpath(published)
        finally:
            lock.release()

    def _make(self, job, wanted, published):
        made = "%s.%s" % (published, uuid.uuid4().hex[:8])
        os.mkdir(made, 0o755)
        try:
            if job.uid:
                os.chown(made, job.uid, job.uid)
            self._install(job, wanted, made)
            if job.uid:                         # later jobs with other uids trust it: no job may keep it writable
                own_tree(made, 0, mask=0o755)
            os.symlink(os.path.basename(made), made + ".link")
            os.replace(made + ".link", published)
        except BaseException:
            remove_tree(made)
            raise

    def _install(self, job, wanted, made):
        job.dir.note("installing requirements: " + " ".join(wanted))
        python = os.path.join(made, "bin", "python")
        steps = [[sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", made]]
        if not importlib.util.find_spec("pip"):
            steps.append([python, "-m", "ensurepip"])
        steps.append([python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-color"]
                     + self._pip_args + ["--"] + wanted)
        for argv in steps:
            end = job.command(argv, umask=0o022)
            if end.get("exit") != 0:
                raise JobFailed("requirements", "could not install %s: %s" % (", ".join(wanted), describe(end)))
        job.dir.note("requirements installed")


def describe(end):
    """How a command ended, in words."""
    if "exit" in end:
        return "exit code %d" % end["exit"]
    try:
        name = signal.Signals(end["signal"]).name
    except ValueError:
        name = "signal %d" % end["signal"]
    return "killed by %s%s" % (name, " (out of memory?)" if name == "SIGKILL" else "")


def failure(end, tail):
    """The error of a job whose command did not exit with 0: the exception when Python printed one."""
    tail = tail.replace("\0", "\ufffd")
    at = max(tail.rfind("Traceback (most recent call last):"), tail.rfind('  File "') if "SyntaxError" in tail else -1)
    trace = tail[at:] if at >= 0 else ""
    for line in trace.splitlines()[1:]:
        if line[:1].strip():                    # the frames are indented, the exception is what follows them
            found = re.match(r"([A-Za-z_][\w.]*)(?:: (.*))?$", line)
            if found:
                return {"type": found.group(1)[:100], "message": (found.group(2) or describe(end))[:2000],
                        "traceback": trace.strip()[-TRACEBACK_BYTES:]}
            break
    return {"type": "signal" if "signal" in end else "exit", "message": describe(end)}


# ---- a job ------------------------------------------------------------------------------------------------------

class Shipper(threading.Thread):
    """Sends a job's log as it grows, by offset, reading it from the file: memory holds one piece, a repeat changes
    nothing. Also notices news of progress."""

    def __init__(self, job):
        super().__init__(name="log-" + job.id, daemon=True)
        self._job = job
        self._link = job.agent.server.link()
        self._offset = 0
        self._asked, self._caught = threading.Event(), threading.Event()
        self._closing, self._quit = threading.Event(), threading.Event()
        self._backoff = Backoff(job.agent.settings.retry)

    def catch_up(self):
        """Wait until all that is in the log now has been sent."""
        self._asked.set()
        self._caught.wait()

    def finish(self, seconds=None):
        """Send what is left, for at most so long."""
        self._closing.set()
        self._asked.set()
        self.join(seconds)
        self._quit.set()

    def run(self):
        try:
            with open(self._job.dir.log, "rb") as log:
                while not self._quit.is_set():
                    asked, closing = self._asked.is_set(), self._closing.is_set()
                    log.seek(self._offset)
                    data = log.read(LOG_CHUNK)
                    if data:
                        if not self._send(data):
                            return
                    elif closing:
                        return
                    elif asked:
                        self._asked.clear()
                        self._caught.set()
                    if len(data) < LOG_CHUNK:
                        self._job.look_at_progress()
                        self._asked.wait(LOG_EVERY)
        except SessionOver as over:
            self._job.agent.over(over)
        finally:
            self._caught.set()
            self._link.close()

    def _send(self, data):
        """False when this log takes no more."""
        try:
            reply = self._job.agent.server.log(self._link, self._job, self._offset, data)
            stored = int(number(reply.get("length")))
            if stored <= self._offset:
                raise Unreachable("the log did not grow")
            self._offset = stored
            self._backoff.reset()
            return not reply.get("full")
        except Unreachable as error:
            self._quit.wait(self._backoff.delay(error.retry_after))
        except Refused as no:
            expected = no.problem.get("expectedOffset")
            if no.status == 409 and isinstance(expected, int) and expected >= 0 and expected != self._offset:
                self._offset = expected
                return True
            if no.status == 410:
                self._job.void()
            say("job %s: log refused: %s", self._job.id, no)
            return False
        return True


class Job:
    """One attempt of one job, from its delivery until its result lies in the outbox."""

    def __init__(self, agent, spec, sent):
        self.agent, self.spec = agent, spec
        self.id, self.lease = spec["jobId"], spec["lease"]
        self.lease_ends = sent + number(spec.get("leaseSeconds"))
        self.gpus = int(number(spec.get("gpus"), 1))
        self.training = spec.get("type") == "training"
        self.devices = []
        self.uid = 0
        self.dir = None
        self.progress = None
        self._lock = threading.Lock()
        self._child = None
        self._verdict = None
        self._why = ""
        self._ended = False                     # no process is left; leases and limits have nothing to stop
        self._stop_at = None
        self._noticed = False
        self._hand_over_at = None               # a training that left a checkpoint ends then, so that it can be kept

    def start(self):
        seconds = number(self.spec.get("timeoutSeconds"), None)
        self._stop_at = now() + seconds if seconds else None
        threading.Thread(target=self._main, name="job-" + self.id, daemon=True).start()

    # From other threads.

    def renewed(self, sent, seconds):
        self.lease_ends = max(self.lease_ends, sent + number(seconds))

    def due(self, moment):
        """(state, why) when its lease or its time has ended, else None."""
        if moment >= self.lease_ends:
            return "released", "its lease ended without renewal"
        if self._stop_at and moment >= self._stop_at:
            return "timed_out", "ran longer than %g s" % self.spec["timeoutSeconds"]
        if self._hand_over_at and moment >= self._hand_over_at and self.dir.has_checkpoint():
            return "released", "its session ends, and it goes on in another"
        return None

    def notice(self, seconds):
        """Its session ends in so many seconds: it is told once."""
        with self._lock:
            if self._noticed or self._ended or not self.dir:
                return
            self._noticed = True
            try:
                self.dir.notice(seconds)
            except OSError as error:
                say("job %s: no notice: %s", self.id, error)
            if self._child:
                self._child.order(b"n")
        if self.training:
            self._hand_over_at = now() + seconds - min(HAND_OVER, seconds / 2)
        say("job %s: told that its session ends in %d s", self.id, seconds)

    def keeps_checkpoint(self):
        return self.training and self.dir is not None and self.dir.has_checkpoint()

    def stop(self, state, why, order=b"t"):
        with self._lock:
            if self._ended or self._verdict:
                return
            self._verdict, self._why = state, why
            if self._child:
                self._child.order(order)
        say("job %s: %s: %s", self.id, state, why)

    def void(self):
        self.stop("cancelled", "its lease is void")

    def kill(self):
        with self._lock:
            if self._child:
                self._child.order(b"k")

    def look_at_progress(self):
        found = self.dir.progress()
        if found and found != self.progress:
            self.progress = found
            self.agent.beat_soon()

    # In the job's own thread.

    def check_stopped(self):
        if self._verdict:
            raise JobStopped

    def command(self, argv, env=None, umask=0o077):
        """Run one command as this job and wait for it."""
        spec = {"argv": argv, "env": env or self._environment(), "cwd": self.dir("run"), "log": self.dir.log,
                "uid": self.uid, "umask": umask, "logCap": LOG_CAP}
        with self._lock:
            self.check_stopped()
            self._child = self.agent.nursery.spawn(spec)
        end = self._child.wait()
        with self._lock:
            self._child = None
        self.check_stopped()
        return end

    def _environment(self):
        env = {name: os.environ[name] for name in ENV_KEPT if name in os.environ}
        env.setdefault("PATH", os.defpath)
        env.update(HOME=self.dir("home"), TMPDIR=self.dir.tmp, USER="job", LOGNAME="job", PYTHONUNBUFFERED="1")
        return env

    def _job_environment(self, payload, venv, secrets):
        env = self._environment()
        env.update(payload.env)
        env.update(secrets)
        if venv:
            env.update(VIRTUAL_ENV=venv, PATH=os.path.join(venv, "bin") + os.pathsep + env["PATH"])
        env.update(GPUPOOL_JOB_ID=self.id, GPUPOOL_ATTEMPT=str(self.spec.get("attempt", 1)),
                   GPUPOOL_RESULT=self.dir("box", "result.json"), GPUPOOL_PROGRESS=self.dir("box", "progress"),
                   GPUPOOL_OUT=self.dir("out"), GPUPOOL_INPUTS=self.dir("inputs"), GPUPOOL_NOTICE=self.dir("notice"),
                   CUDA_VISIBLE_DEVICES=",".join(self.devices), CUDA_DEVICE_ORDER="PCI_BUS_ID")
        if self.training:
            env["GPUPOOL_CHECKPOINT"] = self.dir("checkpoint")
        return env

    def _main(self):
        item = {"jobId": self.id, "lease": self.lease}
        shipper = None
        try:
            self.uid = self.agent.uids.take()
            self.dir = self.agent.workplace.job_dir(self.uid)
            shipper = Shipper(self)
            shipper.start()
            item.update(self._outcome())
            if item["state"] in ("released", "failed", "timed_out") and self.keeps_checkpoint():
                self._keep_checkpoint()
            if item["state"] in ("succeeded", "failed", "timed_out"):
                self._ship(item, shipper)
            else:
                shipper.finish(2.0)
        except SessionOver as over:
            self.agent.over(over)
        except OSError as error:                # a full disk, no memory, no nursery: the next job would fare no better
            item = {"jobId": self.id, "lease": self.lease, "state": "released"}
            self.agent.broken("job %s: %s" % (self.id, error))
        except Exception:
            say("job %s: %s", self.id, traceback.format_exc(limit=-3))
            item = {"jobId": self.id, "lease": self.lease, "state": "failed",
                    "error": {"type": "agent", "message": "the agent failed; its log says why"}}
        finally:
            self._ended = True
            if "state" in item:
                self.agent.finished(self, item)
            if self.dir:
                self.dir.remove()
            self.agent.uids.give_back(self.uid)

    def _outcome(self):
        """Run it → state, and result or error."""
        try:
            outcome = self._execute()
        except JobStopped:
            outcome = {"state": self._verdict}
            if self._verdict == "timed_out":
                outcome["error"] = {"type": "timeout", "message": self._why}
        except JobFailed as error:
            outcome = {"state": "failed", "error": {"type": error.args[0], "message": error.args[1]}}
        with self._lock:
            self._ended = True
        return outcome

    def _execute(self):
        payload = Payload(self.spec)
        self.dir.fill(payload)
        if self.training:
            self._restore()
        venv = self.agent.venvs.get(self, payload.requirements) if payload.requirements else None
        python = os.path.join(venv, "bin", "python") if venv else sys.executable
        argv = payload.command or [python, "-u", "main.py"] + payload.args
        secrets = self._secrets(payload.secrets) if payload.secrets else {}
        end = self.command(argv, self._job_environment(payload, venv, secrets))
        del secrets
        if end.get("exit") == GIVE_BACK and self.training and self._noticed:
            return {"state": "released"}
        if end.get("exit") != 0:
            return {"state": "failed", "error": failure(end, self.dir.tail())}
        outcome = {"state": "succeeded"}
        value = self.dir.result()
        if value is not None:
            outcome["result"] = value
        return outcome

    def _secrets(self, names):
        """The values of these secrets, asked for as late as can be: they are nowhere but in memory, and then in the
        environment of the job's own command. An outage is waited out for as long as the lease was given for."""
        link, backoff, until = self.agent.server.link(), Backoff(self.agent.settings.retry), self.lease_ends
        try:
            while True:
                try:
                    return self._checked_secrets(names, self.agent.server.secrets(link, self))
                except Unreachable as error:
                    delay = backoff.delay(error.retry_after)
                    say("job %s: no secrets yet: %s; again in %.1f s", self.id, error, delay)
                except Refused as no:
                    if no.status != 410:
                        raise JobFailed("secret_refused", "the server gave no secrets: %s" % no)
                    self.void()
                    raise JobStopped
                if now() + delay >= until:
                    self.stop("released", "its secrets could not be fetched")
                self._sleep(delay)
        finally:
            link.close()

    def _sleep(self, seconds):
        """Wait unless the job is stopped."""
        until = now() + seconds
        while now() < until:
            if self.agent.pause(max(0.0, min(0.1, until - now()))):
                self.stop("released", "the agent ends")
            self.check_stopped()
        self.check_stopped()

    @staticmethod
    def _checked_secrets(names, reply):
        got, missing = reply.get("secrets"), reply.get("missing") or []
        if not isinstance(got, dict) or not isinstance(missing, list):
            raise Unreachable("an answer without secrets")
        lacking = [name for name in names if name in missing or (not missing and name not in got)]
        if lacking:
            raise JobFailed("secret_missing", "its owner has no secret %s" % ", ".join(lacking))
        values = {name: got.get(name) for name in names}
        for name, value in values.items():
            if not isinstance(value, str) or "\0" in value:
                raise JobFailed("secret_refused", "the value of %s cannot be in an environment" % name)
        return values

    def _restore(self):
        """What an earlier attempt left in $GPUPOOL_CHECKPOINT lies there again."""
        link, backoff = self.agent.server.link(), Backoff(self.agent.settings.retry)
        try:
            with open(self.dir(CHECKPOINT), "w+b") as file:
                while True:
                    try:
                        if not self.agent.server.checkpoint(link, self, file):
                            return
                        break
                    except Unreachable as error:
                        say("job %s: no checkpoint yet: %s", self.id, error)
                        self._sleep(backoff.delay(error.retry_after))
                file.seek(0)
                self.dir.unpack(file)
            self.dir.note("the checkpoint of an earlier attempt was given back")
        except (tarfile.TarError, ValueError, FileExistsError, NotADirectoryError) as error:
            self.dir.empty_checkpoint()
            self.dir.note("the checkpoint of an earlier attempt cannot be read: %s" % error)
        except Refused as no:
            if no.status != 410:
                raise JobFailed("checkpoint", "the server gave no checkpoint: %s" % no)
            self.void()
            raise JobStopped
        finally:
            link.close()
            os.unlink(self.dir(CHECKPOINT))

    def _keep_checkpoint(self):
        link = self.agent.server.link()
        try:
            with self.dir.pack() as file:
                self._upload_one(link, CHECKPOINT, file)
                say("job %s: checkpoint of %d bytes kept", self.id, file.tell())
        except (OSError, Refused, tarfile.TarError) as error:
            say("job %s: checkpoint not kept: %s", self.id, error)
            self.dir.note("checkpoint not kept: %s" % error)
        finally:
            link.close()

    def _ship(self, item, shipper):
        """Log, artifacts, result, in this order: whoever sees the result can have the rest."""
        shipper.catch_up()
        lost = self._upload()
        shipper.finish(None)
        if lost and item["state"] == "succeeded":
            item.update(state="failed", error={"type": "artifact", "message": "not kept: " + "; ".join(lost[:5])})

    def _upload(self):
        """Upload what lies in $GPUPOOL_OUT → those of its files that could not be kept, each with the reason."""
        lost, link = [], self.agent.server.link()
        for count, (name, file, why) in enumerate(self.dir.artifacts()):
            if count >= ARTIFACTS_MAX:
                lost.append("more than %d files" % ARTIFACTS_MAX)
                break
            try:
                if file:
                    self._upload_one(link, name, file)
            except (OSError, Refused) as error:
                why = str(error)
                if isinstance(error, Refused) and error.status == 410:
                    break
            if why:
                self.dir.note("artifact %s not kept: %s" % (name, why))
                if why != "not a plain file":
                    lost.append("%s: %s" % (plain(name, 200), why))
        link.close()
        return lost

    def _upload_one(self, link, name, file):
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
        size = file.tell()
        backoff = Backoff(self.agent.settings.retry)
        while True:
            try:
                self.agent.server.artifact(link, self, name, file, size, digest.digest())
                return
            except Unreachable as error:
                if self.agent.pause(backoff.delay(error.retry_after)):
                    raise OSError("the agent was stopped")


# ---- results ----------------------------------------------------------------------------------------------------

class Outbox:
    """Results on disk until the server has answered for them, whatever the answer."""
    BATCH, BYTES = 500, 4 << 20

    def __init__(self, path):
        self._path, self._items, self._limit = path, collections.OrderedDict(), self.BATCH
        self._changed = threading.Condition()
        os.mkdir(path, 0o700)

    def put(self, item):
        path = os.path.join(self._path, item["lease"] + ".json")
        try:
            with open(path + ".new", "w", encoding="utf-8", errors="backslashreplace") as file:
                json.dump(item, file, ensure_ascii=False)
            os.replace(path + ".new", path)
            kept = path
        except OSError as error:
            say("job %s: result kept in memory: %s", item["jobId"], error)
            kept = item
        with self._changed:
            self._items[item["lease"]] = (item["jobId"], kept)
            self._changed.notify_all()

    def held(self):
        with self._changed:
            return [(job, lease) for lease, (job, _) in self._items.items()]

    def wait(self, seconds):
        with self._changed:
            return self._changed.wait_for(lambda: self._items, seconds)

    def batch(self):
        with self._changed:
            kept = [kept for _, kept in self._items.values()][:self._limit]
        items, size = [], 0
        for item in kept:
            if isinstance(item, str):
                with open(item, encoding="utf-8") as file:
                    item = json.load(file)
            size += len(json.dumps(item, ensure_ascii=False))
            if items and size > self.BYTES:
                break
            items.append(item)
        return items

    def refused(self, items, no):
        """The server would not read this batch: halve it until the item at fault is alone, and that one becomes a
        failure. Otherwise one bad result would hold up all others for ever."""
        if len(items) > 1:
            self._limit = max(1, len(items) // 2)
        elif no.status == 413:
            self._replace(items[0], "result_too_large", "the server refused the size of the result")
        else:
            self._replace(items[0], "result_invalid", "the server cannot read this result: %s" % no)

    def answered(self, items, answers):
        by_lease = {a.get("lease"): a for a in answers if isinstance(a, dict)}
        if not any(item["lease"] in by_lease for item in items):
            raise Unreachable("an answer without results")
        for item in items:
            answer = by_lease.get(item["lease"])
            if answer is None:
                continue
            if not answer.get("accepted"):
                say("job %s: result not taken: %s", item["jobId"], plain(answer.get("reason"), 50))
                if answer.get("reason") == "invalid" and "result" in item:
                    self._replace(item, "result_invalid", "the server cannot store this result")
                    continue
            self._drop(item["lease"])
        self._limit = self.BATCH

    def _replace(self, item, kind, message):
        """Report a failure instead; a report that was refused without any result is given up."""
        if "result" not in item and not item.get("error", {}).get("traceback"):
            say("job %s: its result is given up: %s", item["jobId"], message)
            self._drop(item["lease"])
            return
        self.put({"jobId": item["jobId"], "lease": item["lease"], "state": "failed",
                  "error": {"type": kind, "message": message}})

    def _drop(self, lease):
        with self._changed:
            _, kept = self._items.pop(lease, (None, None))
        if isinstance(kept, str):
            os.unlink(kept)


# ---- the agent --------------------------------------------------------------------------------------------------

class Capacity:
    """Slots and GPUs. With at least as many GPUs as slots a GPU belongs to one job at a time; with more slots than
    GPUs jobs share, and each gets those with the fewest users."""

    def __init__(self, slots, devices):
        self.slots, self._used = slots, 0
        self._users = {device: 0 for device in devices}
        self._exclusive = len(devices) >= slots

    def free(self):
        idle = self.slots - self._used
        if self._users and self._exclusive:
            idle = min(idle, sum(1 for users in self._users.values() if not users))
        return max(0, idle)

    def take(self, gpus):
        """→ the job's devices, or None when it has to wait."""
        gpus = min(gpus, len(self._users))
        least = sorted(self._users, key=lambda device: self._users[device])[:gpus]
        if self._used >= self.slots or (self._exclusive and any(self._users[device] for device in least)):
            return None
        self._used += 1
        for device in least:
            self._users[device] += 1
        return sorted(least)

    def give_back(self, devices):
        self._used -= 1
        for device in devices:
            self._users[device] -= 1


class Agent:
    """The session: its loops, what it holds, and how it ends."""

    def __init__(self, url, settings, nursery):
        self.settings, self.nursery = settings, nursery
        self.server = Server(url)
        self.uids = Uids(settings.uid_base)
        self.deadline = Deadline()
        self._heartbeat = 15.0
        self._lock = threading.Condition()
        self._jobs = collections.OrderedDict()      # lease → Job: waiting, running, or on the way to the outbox
        self._waiting = collections.deque()
        self._done = collections.OrderedDict()      # leases that are finished
        self._draining = False
        self._upgrade = None
        self._upgrade_after = 0.0
        self._end = None                            # (reason, exit code, whether the session still lives)
        self._ending = threading.Event()
        self._beat = threading.Event()              # news of progress
        self._last_beat = self._next_beat = 0.0
        self._usage = None

    # Setting up.

    def prepare(self, instance):
        """A place to work in; as root one where the jobs' uids can work too."""
        elsewhere = os.path.join(tempfile.gettempdir(), "gpupool-" + instance[:8])
        for path in (self.settings.work, elsewhere):
            self.workplace = Workplace(path, instance, self.settings.uid_base, transient=path == elsewhere)
            trouble = self.settings.uid_base and self._probe()
            if not trouble:
                self.outbox = Outbox(self.workplace.results)
                self.venvs = Venvs(self.workplace.venvs, self.settings.pip_args)
                return
            say("jobs as another uid cannot work in %s: %s", path, trouble)
            self.workplace.remove()
        raise SystemExit("gpupool-agent: as root each job runs as its own uid, and that cannot run %s here; use "
                         "another Python, or say GPUPOOL_UID_BASE=0 to run jobs as root" % sys.executable)

    def _probe(self):
        """Run next to nothing as a job's uid → what is wrong, or None."""
        uid = self.uids.take()
        place = self.workplace.job_dir(uid)
        try:
            code = "import os; os.listdir(%r); open(%r, 'w').close()" % (place("run"), place("run", "x"))
            end = self.nursery.spawn({"argv": [sys.executable, "-c", code], "env": {"PATH": os.defpath},
                                      "cwd": place("run"), "log": place.log, "uid": uid, "umask": 0o077,
                                      "logCap": LOG_CAP}).wait()
            return None if end.get("exit") == 0 else plain(place.tail() or describe(end), 500)
        finally:
            place.remove()
            self.uids.give_back(uid)

    def register(self, token, instance):
        machine = self.machine
        body = {"provider": self.settings.provider, "instance": instance, "agent": VERSION, "protocol": PROTOCOL,
                "capabilities": machine.capabilities(self.capacity.slots)}
        link, backoff, began = self.server.link(), Backoff(self.settings.retry), now()
        while True:
            sent = now()
            try:
                reply = self.server.register(link, token, body)
                self.server.adopt(reply["workerId"], reply["token"])
                self.deadline.learn(reply, sent)
                self._heartbeat = number(reply.get("heartbeatSeconds"), 15.0) or 15.0
                break
            except Unreachable as error:
                trouble, delay = error, backoff.delay(error.retry_after)
            except (Refused, KeyError) as error:
                trouble, delay = error, backoff.delay(self.settings.retry)
            say("not registered yet: %s; again in %.1f s", trouble, delay)
            left = began + self.settings.reach - now()
            if self.settings.provider not in ("local", "manual"):
                if left <= 0:
                    say("could not reach the server within %g s", self.settings.reach)
                    sys.exit(6)
                delay = min(delay, left)
            if self._ending.wait(delay):
                sys.exit(self._end[1])
        link.close()
        say("registered as worker %s with %d slot(s), %s", plain(reply["workerId"], 40), self.capacity.slots,
            ", ".join(gpu["name"] for gpu in machine.gpus) or "no GPU")

    def detect(self):
        self.machine = Machine()
        self.capacity = Capacity(self.settings.slots or len(self.machine.gpus) or 1, self.machine.devices)

    def adopt(self, state):
        """Go on with the session of the image before an upgrade."""
        self.server.adopt(state["worker"], state["token"])
        self.deadline = Deadline(state["deadline"])
        self._heartbeat = state["heartbeat"]
        say("upgraded to %s; the session goes on", VERSION)

    # What threads tell each other.

    def pause(self, seconds):
        """Sleep; true when the agent is ending."""
        return self._ending.wait(seconds)

    def beat_soon(self):
        self._beat.set()

    def end(self, reason, code, alive=True):
        with self._lock:
            if self._end is None:
                self._end = (reason, code, alive)
            self._ending.set()
            self._lock.notify_all()

    def broken(self, text):
        """This machine cannot run jobs any more: better no worker than one that spoils each job it gets."""
        say("giving up: %s", text)
        self.end("broken", 1)

    def over(self, error):
        say("the session is over: %s", error)
        self.end("over", error.code, alive=False)

    def _taking(self):
        return not self._draining and not self._ending.is_set()

    def _free(self):
        """Jobs to ask for now; none while the server does not take the results of those before."""
        if not self._taking() or len(self.outbox.held()) >= RESULTS_WAITING:
            return 0
        return max(0, self.capacity.free() - len(self._waiting))

    def _holding(self):
        with self._lock:
            held = [(job.id, lease) for lease, job in self._jobs.items()]
        known = {lease for _, lease in held}
        return held + [entry for entry in self.outbox.held() if entry[1] not in known]

    # Jobs.

    def accept(self, spec, sent):
        """Take a delivered job; a second delivery of a known lease only renews it. True when it is new."""
        if not (isinstance(spec, dict) and all(isinstance(spec.get(k), str) and IDENT.match(spec[k])
                                               for k in ("jobId", "lease"))):
            say("the server delivered something that is no job")
            return False
        with self._lock:
            lease = spec["lease"]
            if lease in self._done:
                return False
            if lease in self._jobs:
                self._jobs[lease].renewed(sent, spec.get("leaseSeconds"))
                return False
            job = Job(self, spec, sent)
            if self._taking():
                self._jobs[lease] = job
                self._waiting.append(job)
                say("job %s: accepted", job.id)
            else:
                self._remember(lease)
                self.outbox.put({"jobId": job.id, "lease": lease, "state": "released"})
        self._start_waiting()
        return True

    def _start_waiting(self):
        with self._lock:
            while self._waiting:
                devices = self.capacity.take(self._waiting[0].gpus)
                if devices is None:
                    break
                job = self._waiting.popleft()
                job.devices = devices
                job.start()
            self._lock.notify_all()

    def _remember(self, lease):
        self._done[lease] = None
        while len(self._done) > REMEMBERED:
            self._done.popitem(last=False)

    def finished(self, job, item):
        """A job's thread is done: its result to the outbox, its place to the next."""
        self.outbox.put(item)
        with self._lock:
            self._remember(job.lease)
            self._jobs.pop(job.lease, None)
            self.capacity.give_back(job.devices)
        say("job %s: %s", job.id, item["state"])
        self._start_waiting()

    def _stop_job(self, job, state, why):
        """Also for one that has not started: its result needs no process."""
        with self._lock:
            waiting = job in self._waiting
            if waiting:
                self._waiting.remove(job)
                self._jobs.pop(job.lease, None)
                self._remember(job.lease)
                self.outbox.put({"jobId": job.id, "lease": job.lease, "state": state})
                self._lock.notify_all()
        if not waiting:
            job.stop(state, why)

    def _each_job(self):
        with self._lock:
            return list(self._jobs.values())

    # Orders.

    def obey(self, orders):
        """True when one of them was news."""
        news = False
        for order in orders if isinstance(orders, list) else []:
            kind = order.get("order") if isinstance(order, dict) else None
            if kind == "cancel":
                news |= self._cancel(order)
            elif kind == "drain" and not self._draining:
                news = self._draining = True
                say("draining: %s", plain(order.get("reason") or "as ordered", 200))
            elif kind == "stop":
                self.end("stopped", 0)
                news = True
            elif kind == "upgrade" and not self._draining and now() >= self._upgrade_after:
                self._upgrade, self._draining, news = order.get("sha256"), True, True
                say("draining for an upgrade")
        with self._lock:
            self._lock.notify_all()
        return news

    def _cancel(self, order):
        for job in self._each_job():
            if order.get("lease", job.lease) == job.lease and order.get("jobId", job.id) == job.id:
                self._stop_job(job, "cancelled", "as ordered")
                return True
        return False

    # Loops.

    def _loop(self, turn, name, most=None):
        """A thread that takes turns until the agent ends; what fails is tried again later, and later still."""
        def run():
            link, backoff = self.server.link(), Backoff(self.settings.retry, most)
            while not self._ending.is_set():
                try:
                    turn(link)
                    backoff.reset()
                except SessionOver as over:
                    self.over(over)
                except (Unreachable, Refused) as error:
                    delay = backoff.delay(getattr(error, "retry_after", 0.0))
                    say("%s: %s; again in %.1f s", name, error, delay)
                    self.pause(delay)
                except Exception:
                    say("%s: %s", name, traceback.format_exc(limit=-3))
                    self.pause(backoff.delay())
        threading.Thread(target=run, name=name, daemon=True).start()

    def _claim(self, link, most):
        body = {"max": most, "waitSeconds": CLAIM_WAIT, "holding": [lease for _, lease in self._holding()]}
        sent = now()
        reply = self.server.worker(link, "claim", body, CLAIM_WAIT + 15, 64 << 20)
        self.deadline.learn(reply, sent)
        jobs = reply.get("jobs") or []
        news = any([self.accept(spec, sent) for spec in jobs])
        news |= self.obey(reply.get("orders") or [])
        if not news and now() - sent < 0.5:
            self.pause(0.25)                    # an answer at once that says nothing new must not make us spin

    def _work_turn(self, link):
        """Claim as many jobs as there is room for."""
        with self._lock:
            self._lock.wait_for(lambda: self._free() or self._ending.is_set(), 5.0)
            free = self._free()
        if free:
            self._claim(link, free)

    def _order_turn(self, link):
        """With no room there is still a claim parked, for orders. It has a thread of its own, so that room which
        appears while it is parked is offered at once on the other."""
        with self._lock:
            full = self._lock.wait_for(lambda: not self._free() or self._ending.is_set(), 5.0)
        if full and not self._ending.is_set():
            self._claim(link, 0)

    def _heartbeat_turn(self, link):
        early = self._beat.wait(max(0.0, self._next_beat - now()))
        if early:
            self.pause(max(0.0, self._last_beat + PROGRESS_EVERY - now()))
        self._beat.clear()
        self._last_beat = now()
        jobs = {job.lease: job for job in self._each_job()}
        named = []
        for job_id, lease in self._holding():
            entry = {"jobId": job_id, "lease": lease}
            if lease in jobs and jobs[lease].progress:
                entry["progress"] = jobs[lease].progress
            named.append(entry)
        body = {"jobs": named}
        if self._usage:
            body["gpu"] = self._usage
        sent = now()
        reply = self.server.worker(link, "heartbeat", body)
        self.deadline.learn(reply, sent)
        for entry in reply.get("renewed") or []:
            job = jobs.get(entry.get("lease")) if isinstance(entry, dict) else None
            if job:
                job.renewed(sent, entry.get("leaseSeconds"))
        self.obey(reply.get("orders") or [])
        self._next_beat = sent + self._heartbeat
        if not early:
            self._usage = self.machine.usage()  # for the next one: nothing slow stands before a renewal

    def _result_turn(self, link):
        if not self.outbox.wait(5.0):
            return
        items = self.outbox.batch()
        try:
            reply = self.server.worker(link, "results", {"results": items}, limit=4 << 20)
        except Refused as no:
            if no.status not in (400, 413, 422):
                raise
            say("results: %s", no)
            self.outbox.refused(items, no)
            return
        self.outbox.answered(items, reply.get("results") or [])

    # The brakes, and the end.

    def run(self):
        """The main thread from registration to exit code."""
        self._next_beat = now() + self._heartbeat
        self._loop(self._work_turn, "claim")
        self._loop(self._order_turn, "orders")
        self._loop(self._heartbeat_turn, "heartbeat", self._heartbeat)
        self._loop(self._result_turn, "results")
        while not self._ending.wait(0.1 if self._jobs else 0.4):
            moment = now()
            for job in self._each_job():
                due = job.due(moment)
                if due:
                    self._stop_job(job, *due)
            if self.deadline.at is not None:
                self._near_deadline(self.deadline.at - moment)
            if self._draining and not self._holding():
                self._drained()
        return self._finish()

    def _near_deadline(self, left):
        if left <= (NOTICE_MOST if self._draining else NOTICE_OWN):
            for job in self._each_job():
                job.notice(left)
        if left <= DEADLINE_MARGIN:
            self.end("deadline", 0)

    def _drained(self):
        if self._upgrade is None:
            self.end("drained", 0)
            return
        try:
            self._exec_upgrade()
        except (Unreachable, OSError, SyntaxError, ValueError) as error:
            say("not upgraded: %s", error)
        self._upgrade, self._upgrade_after = None, now() + 60
        with self._lock:
            self._draining = False
            self._lock.notify_all()

    def _exec_upgrade(self):
        source = self.server.agent_source(self.server.link())
        if hashlib.sha256(source).hexdigest() != self._upgrade:
            raise ValueError("the fetched agent is not the one that was ordered")
        compile(source, "gpupool-agent.py", "exec")
        program = os.path.join(self.settings.work, "gpupool-agent-%s.py" % self._upgrade[:12])
        with open(program + ".new", "wb") as file:
            file.write(source)
        os.replace(program + ".new", program)
        self.workplace.remove()
        Handoff.send(program, dict(self.server.session(), deadline=self.deadline.at, heartbeat=self._heartbeat))

    def _finish(self):
        reason, code, alive = self._end
        say("ending: %s", reason)
        if alive:
            self._release()
            self._goodbye(reason, code)
        for job in self._each_job():
            job.kill()
        until = now() + 2.0
        while self._each_job() and now() < until:
            time.sleep(0.02)
        return code

    def _release(self):
        """Give back what runs, and deliver what is finished, within a few seconds."""
        keeps = any(job.keeps_checkpoint() for job in self._each_job())
        until = now() + (CHECKPOINT_PUT if keeps else STOP_SECONDS)
        for job in self._each_job():
            self._stop_job(job, "released", "the agent ends")
        link = self.server.link()
        try:
            while now() < until and self._holding():
                if self.outbox.wait(0.05):
                    try:
                        self._result_turn(link)
                    except Unreachable:
                        time.sleep(0.2)
        except (SessionOver, Refused) as error:
            say("could not hand back: %s", error)

    def _goodbye(self, reason, code):
        try:
            self.server.worker(self.server.link(), "goodbye", {"reason": reason, "code": code, "log": say.tail()}, 3.0)
        except (Unreachable, Refused, SessionOver) as error:
            say("no goodbye: %s", error)


def on_signal(agent):
    def handler(signum, _):
        if agent._ending.is_set():
            os._exit(1)                         # asked twice: the keepers see us gone and kill the jobs
        agent.end(signal.Signals(signum).name.lower(), 0)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, handler)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 1
    handoff = Handoff.descriptor()
    if handoff is None:
        close_inherited()
        prctl(PR_SET_DUMPABLE, 0)
        Server(sys.argv[1])
        Settings(os.environ)
        Handoff.send(os.path.abspath(__file__), {"enrol": ask_token()})
    os.umask(0o022)
    prctl(PR_SET_DUMPABLE, 0)                   # neither memory nor environment can be read by a job of the same uid
    agent = Agent(sys.argv[1], Settings(os.environ), Nursery(handoff))
    state = Handoff.receive(handoff)
    if agent.settings.log:
        say.also_to(agent.settings.log)
    on_signal(agent)
    agent.server.start()
    instance = uuid.uuid4().hex
    agent.prepare(instance)
    try:
        agent.detect()
        if "enrol" in state:
            agent.register(state.pop("enrol"), instance)
        else:
            agent.adopt(state)
        return agent.run()
    except SessionOver as over:
        say("registration refused: %s", over)
        return over.code
    finally:
        agent.workplace.remove()


if __name__ == "__main__":
    try:
        status = main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else 1
    except Exception:
        say("%s", traceback.format_exc())
        status = 1
    sys.stderr.flush()
    os._exit(status)                            # daemon threads may sit in a parked call
