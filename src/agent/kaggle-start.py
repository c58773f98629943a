"""What gpupool runs in a Kaggle notebook: a worker that takes jobs from the server below until its session ends.

The worker agent itself is packed in at the end of the values. The token lets one agent register, once, within a few
hours; nothing else that is secret is in here. Delete this notebook at gpupool, which also keeps its outputs.
"""
import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile

SERVER = "@SERVER@"
TOKEN = "@TOKEN@"
RESOURCE = "@RESOURCE@"
AGENT = """
@AGENT@
"""

MEANINGS = {
    0: "a clean end",
    3: "the server did not take its token, because this session was stopped or had waited too long",
    4: "another machine has used its token",
    5: "its session was over",
    6: "it could not reach the server; the notebook needs internet, and the server a public address",
}


def say(text):
    print("gpupool: " + text, flush=True)


def gpus():
    """Names of the GPUs that this machine has, as nvidia-smi tells them."""
    try:
        out = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in out.decode("utf-8", "replace").splitlines() if line.strip()]


def environment():
    env = dict(os.environ)
    env.update(GPUPOOL_ENROL_TOKEN=TOKEN, GPUPOOL_PROVIDER="kaggle",
               GPUPOOL_WORK=os.path.join(tempfile.gettempdir(), "gpupool-work"))
    return env


def run(directory):
    """Runs the agent, its output as ours → its exit status, negative for a signal."""
    path = os.path.join(directory, "gpupool-agent.py")
    with open(path, "wb") as file:
        file.write(base64.b64decode(AGENT))
    agent = subprocess.Popen([sys.executable, "-u", path, SERVER], env=environment(), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def forward(signum, _):
        agent.send_signal(signum)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, forward)
    for line in agent.stdout:
        sys.stdout.write(line.decode("utf-8", "replace"))
        sys.stdout.flush()
    return agent.wait()


def main():
    found = gpus()
    say("GPUs seen: " + (", ".join(found) or "none"))
    if RESOURCE == "gpu" and not found:
        say("a GPU was asked for, and this machine has none")
    directory = tempfile.mkdtemp(prefix="gpupool-")
    try:
        status = run(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if status < 0:
        say("the agent was killed by signal %d%s" % (-status, ", perhaps for want of memory" if status == -9 else ""))
        return 128 - status
    say("the agent ended with status %d: %s" % (status, MEANINGS.get(status, "it failed; its last lines say why")))
    return status


if __name__ == "__main__":
    sys.exit(main())
