"""The start script of Colab's notebooks: what it gives the agent, says of the machine, and makes of its end."""
import base64
import json
import os
import signal
import subprocess

import pytest

from conftest import HERE, PYTHON, until

SCRIPT = os.path.join(HERE, "..", "..", "src", "agent", "colab-start.py")
TOKEN = "gpe_0123456789012345678901234567890123456789012"
URL = "https://pool.example.org"


@pytest.fixture
def run(tmp_path):
    """Runs the script with this as its agent → the process; `nvidia` answers as nvidia-smi."""
    started = []

    def run(agent, nvidia="exit 9", resource="cpu", url=URL, detach=""):
        with open(SCRIPT) as file:
            text = file.read()
        values = {"SERVER": url, "TOKEN": TOKEN, "PROVIDER": "colab", "RESOURCE": resource, "DETACH": detach}
        for name, value in values.items():
            text = text.replace('"@%s@"' % name, json.dumps(value, ensure_ascii=False))
        text = text.replace("@AGENT@", base64.b64encode(agent.encode()).decode())
        (tmp_path / "script.py").write_text(text, encoding="utf-8")
        (tmp_path / "bin").mkdir(exist_ok=True)
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.write_text("#!/bin/sh\n%s\n" % nvidia)
        tool.chmod(0o755)
        (tmp_path / "tmp").mkdir(exist_ok=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("GPUPOOL_")}
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
    code, lines = ended(run(agent, "echo 'Tesla T4'", resource="gpu"))
    assert code == 0
    assert lines[0] == "gpupool: GPUs seen: Tesla T4"
    argv, env, mode = json.loads(lines[1])
    assert argv == [URL] and mode == 0o700
    assert env == {"GPUPOOL_ENROL_TOKEN": TOKEN, "GPUPOOL_PROVIDER": "colab", "GPUPOOL_WORK": str(tmp_path / "tmp" / "gpupool-work")}
    assert lines[2:] == ["gpupool: the agent ended with status 0: a clean end"]
    assert os.listdir(str(tmp_path / "tmp")) == []


@pytest.mark.parametrize("url", ['https://x/"""\nexit(9)', "https://x/\\'\"", "https://x/é😀"])
def test_address_is_only_an_argument(run, url):
    assert ended(run("import sys\nprint(ascii(sys.argv[1]))", url=url))[1][-2] == ascii(url)


def test_without_the_gpu_that_was_asked_its_token_stays_unused(run, tmp_path):
    code, lines = ended(run("open('ran', 'w')", resource="gpu"))
    assert code == 1 and "Change runtime type" in lines[-1]
    assert not (tmp_path / "ran").exists()
    assert ended(run("open('ran', 'w')", resource="gpu", nvidia="echo L4"))[0] == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("status,words", [(1, "it failed"), (3, "did not take its token"), (4, "another machine"), (5, "was over"),
                                          (6, "could not reach the server")])
def test_a_failure_fails_the_cell_with_its_meaning(run, status, words):
    code, lines = ended(run("raise SystemExit(%d)" % status))
    meaning = [line for line in lines if line.startswith("gpupool: the agent ended with status %d: " % status)]
    assert code == 1 and words in meaning[0] and lines[-1].startswith("RuntimeError: gpupool: this worker ended")


def test_output_passes_through_line_by_line(run):
    process = run("import sys\nprint('first')\nsys.stderr.write('second\\n')\nsys.stdin.read()\nimport time\n"
                  "while True: time.sleep(0.05)")
    assert process.stdout.readline().startswith("gpupool: GPUs seen: none")
    assert process.stdout.readline() == "first\n" and process.stdout.readline() == "second\n"


def test_an_interrupt_lets_the_agent_hand_back_its_jobs(run, tmp_path):
    process = run("import signal, sys, time\n"
                  "def end(*_): open('handed-back', 'w').close(); sys.exit(0)\n"
                  "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)")
    while process.stdout.readline() != "ready\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    ended(process)
    assert (tmp_path / "handed-back").exists() and os.listdir(str(tmp_path / "tmp")) == []


def test_detached_agent_outlives_the_cell(run, tmp_path):
    code, lines = ended(run("import os, time\nopen('pid', 'w').write(str(os.getpid()))\nprint('works', flush=True)\n"
                            "while not os.path.exists('go'): time.sleep(0.02)\nopen('gone', 'w')", detach="yes"))
    assert code == 0 and "the agent runs as process" in lines[-1]
    log = lines[-1].rsplit(" ", 1)[1]
    until(lambda: (tmp_path / "pid").exists() and open(log).read() == "works\n")
    (tmp_path / "go").touch()
    until(lambda: (tmp_path / "gone").exists())
