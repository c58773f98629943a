"""Fixtures: a stand-in server and real agents as processes of their own, in directories that any uid may enter."""
import glob
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from server import Pool  # noqa: E402

PROGRAM = os.path.join(HERE, "..", "..", "src", "agent", "gpupool-agent.py")
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def until(condition, seconds=15):
    """Wait for a state outside the server, such as a process that is gone."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited %d s in vain" % seconds
        time.sleep(0.02)


def alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def family(pid):
    """The agent and its processes, parents first."""
    found = [pid]
    for name in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
        try:
            with open("/proc/%d/stat" % name) as file:
                if int(file.read().rsplit(")", 1)[1].split()[1]) in found:
                    found.append(name)
        except OSError:
            continue
    return found


@pytest.fixture
def pool():
    pool = Pool()
    pool.start()
    yield pool
    pool.stop()
    assert not pool.breaches


@pytest.fixture(params=["as we are", "as an ordinary user"] if os.geteuid() == 0 else ["as we are"])
def uid(request):
    """For tests of isolation: root's agents keep jobs apart by uid, others' by what Linux grants a process."""
    return 65534 if request.param == "as an ordinary user" else None


@pytest.fixture
def shared(work):
    """A directory in which jobs of any uid may leave marks for the test."""
    path = os.path.join(work, "shared")
    os.mkdir(path)
    os.chmod(path, 0o777)
    return path


@pytest.fixture
def work():
    path = tempfile.mkdtemp(prefix="gpupool-test-")
    os.chmod(path, 0o711)
    yield path
    for link in glob.glob(os.path.join(glob.escape(path), "**", "run-*", "tmp"), recursive=True):
        if os.path.islink(link):                # of an agent that was killed and had a long path
            shutil.rmtree(os.readlink(link), ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(pool, work):
    """start(…) → a running agent; its output is in agent.output()."""
    agents = []

    def start(wait=True, python=PYTHON, token=None, uid=None, options=(), **env):
        number = len(agents)
        options = dict({"stdin": subprocess.DEVNULL}, **dict(options))
        if uid:
            os.chown(work, uid, uid)
            options.update(user=uid, group=uid, extra_groups=[])
        out = open(os.path.join(work, "agent-%d.out" % number), "w+b")
        full = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "GPUPOOL_WORK": os.path.join(work, "work"),
                "GPUPOOL_ENROL_TOKEN": token or pool.enrol_token, "GPUPOOL_RETRY_SECONDS": "0.1", "HOME": work, "TMPDIR": work, **env}
        agent = subprocess.Popen([python, PROGRAM, pool.url], env={k: v for k, v in full.items() if v is not None},
                                 stdout=out, stderr=out, start_new_session=True, **options)
        agent.work = full["GPUPOOL_WORK"]
        agent.output = lambda: (out.seek(0), out.read().decode())[1]
        agents.append(agent)
        if wait:
            pool.wait(lambda: pool.parked)
        return agent

    yield start
    for agent in agents:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)
        agent.wait()
        output = agent.output()
        assert pool.session_token not in output and pool.enrol_token not in output


@pytest.fixture(scope="session")
def agent_module():
    """The agent as a module, for its parts."""
    spec = importlib.util.spec_from_file_location("gpupool_agent", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
