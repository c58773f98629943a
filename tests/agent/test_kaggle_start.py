"""The start script that is pushed to Kaggle: what it gives the agent, says of the machine, and makes of its end."""
import base64
import json
import os
import signal
import subprocess

import pytest

from conftest import HERE, PYTHON, until

SCRIPT = os.path.join(HERE, "..", "..", "src", "agent", "kaggle-start.py")
TOKEN = "gpe_0123456789012345678901234567890123456789012"
URL = "https://pool.example.org"


@pytest.fixture
def run(tmp_path):
    """Runs the script with this as its agent → the process; `nvidia` answers as nvidia-smi."""
    started = []

    def run(agent, nvidia="exit 9", resource="gpu", url=URL):
        with open(SCRIPT) as file:
            text = file.read()
        for name, value in (("SERVER", url), ("TOKEN", TOKEN), ("RESOURCE", resource)):
            text = text.replace('"@%s@"' % name, json.dumps(value, ensure_ascii=False))
        text = text.replace("@AGENT@", base64.b64encode(agent.encode()).decode())
        (tmp_path / "script.py").write_text(text, encoding="utf-8")
        (tmp_path / "bin").mkdir(exist_ok=True)
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.write_text("#!/bin/sh\n%s\n" % nvidia)
        tool.chmod(0o755)
        (tmp_path / "tmp").mkdir(exist_ok=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("GPUPOOL_")}  # a notebook has none of ours
        env.update(PATH="%s:%s" % (tmp_path / "bin", env["PATH"]), TMPDIR=str(tmp_path / "tmp"))
        process = subprocess.Popen([PYTHON, str(tmp_path / "script.py")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, env=env, cwd=str(tmp_path), text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def ended(process):
    out = process.communicate(timeout=30)[0]
    return process.returncode, out.splitlines()


def test_agent_gets_all_it_needs(run, tmp_path):
    agent = ("import json, os, stat, sys\nhere = os.path.dirname(os.path.abspath(__file__))\n"
             "print(json.dumps([sys.argv[1:], {k: v for k, v in os.environ.items() if k.startswith('GPUPOOL_')},\n"
             "                  stat.S_IMODE(os.stat(here).st_mode)]))")
    code, lines = ended(run(agent, "echo 'Tesla T4'; echo 'Tesla T4'"))
    assert code == 0
    assert lines[0] == "gpupool: GPUs seen: Tesla T4, Tesla T4"
    argv, env, mode = json.loads(lines[1])
    assert argv == [URL] and mode == 0o700
    assert env == {"GPUPOOL_ENROL_TOKEN": TOKEN, "GPUPOOL_PROVIDER": "kaggle", "GPUPOOL_WORK": str(tmp_path / "tmp" / "gpupool-work")}
    assert lines[2:] == ["gpupool: the agent ended with status 0: a clean end"]
    assert os.listdir(str(tmp_path / "tmp")) == []


@pytest.mark.parametrize("url", ['https://x/"""\nexit(9)', "https://x/\\'\"", "https://x/é😀"])
def test_address_is_only_an_argument(run, url):
    assert ended(run("import sys\nprint(ascii(sys.argv[1]))", url=url))[1][-2] == ascii(url)


@pytest.mark.parametrize("status,words", [(1, "it failed"), (3, "did not take its token"), (4, "another machine"), (5, "was over"),
                                          (6, "could not reach the server")])
def test_status_is_passed_on_with_its_meaning(run, status, words):
    code, lines = ended(run("raise SystemExit(%d)" % status))
    assert code == status
    assert lines[-1].startswith("gpupool: the agent ended with status %d: " % status) and words in lines[-1]


def test_output_passes_through_line_by_line(run):
    process = run("import sys, time\nprint('first')\nsys.stderr.write('second\\n')\nsys.stdout.buffer.write(b'\\xff\\n')\n"
                  "sys.stdout.flush()\ntime.sleep(60)")
    assert [process.stdout.readline() for _ in range(5)][2:] == ["first\n", "second\n", "\ufffd\n"]
    assert process.poll() is None


def test_no_gpu_is_said(run):
    for nvidia in ("exit 9", ""):
        assert ended(run("", nvidia))[1][:2] == ["gpupool: GPUs seen: none", "gpupool: a GPU was asked for, and this machine has none"]
    assert ended(run("", resource="cpu"))[1][:2] == ["gpupool: GPUs seen: none", "gpupool: the agent ended with status 0: a clean end"]


def test_killed_agent(run):
    code, lines = ended(run("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"))
    assert code == 137 and lines[-1] == "gpupool: the agent was killed by signal 9, perhaps for want of memory"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_reaches_the_agent(run, tmp_path, number):
    process = run("import signal, sys, time\nfor n in (signal.SIGTERM, signal.SIGINT):\n"
                  "    signal.signal(n, lambda n, _: sys.exit(40 + n))\nopen('ready', 'w').close()\ntime.sleep(60)")
    until(lambda: (tmp_path / "ready").exists())
    process.send_signal(number)
    assert ended(process)[0] == 40 + number
