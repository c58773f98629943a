#@title Run this to make the machine a worker of gpupool
"""A worker that takes jobs from the server below until its session ends.

The worker agent itself is packed in at the end of the values. The token lets one agent register, once, within a day;
nothing else that is secret is in here.
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
PROVIDER = "@PROVIDER@"
RESOURCE = "@RESOURCE@"
DETACH = "@DETACH@"
AGENT = """
@AGENT@
"""

MEANINGS = {
    0: "a clean end",
    3: "the server did not take its token: this notebook was run before, a newer one was made, or its worker was stopped",
    4: "another machine has used its token",
    5: "its session was over; get another notebook from gpupool",
    6: "it could not reach the server, which needs an address that this machine can reach",
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
    env.update(GPUPOOL_ENROL_TOKEN=TOKEN, GPUPOOL_PROVIDER=PROVIDER,
               GPUPOOL_WORK=os.path.join(tempfile.gettempdir(), "gpupool-work"))
    return env


def unpack(directory):
    path = os.path.join(directory, "gpupool-agent.py")
    with open(path, "wb") as file:
        file.write(base64.b64decode(AGENT))
    return [sys.executable, "-u", path, SERVER]


def detach(command, directory):
    """Starts the agent and leaves it: the machine keeps it when this cell has ended."""
    log = os.path.join(directory, "log")
    with open(log, "wb") as file:
        agent = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                                 start_new_session=True)
    say("the agent runs as process %d; its log is %s" % (agent.pid, log))


def follow(command):
    """Runs the agent, its output as this cell's → its exit status, negative for a signal."""
    agent = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    try:
        for line in agent.stdout:
            sys.stdout.write(line.decode("utf-8", "replace"))
            sys.stdout.flush()
        return agent.wait()
    except BaseException:  # the cell was interrupted: the jobs go back to the queue first
        agent.send_signal(signal.SIGTERM)
        try:
            agent.wait(60)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            agent.kill()
            agent.wait()
        raise


def judge(status):
    if status < 0:
        say("the agent was killed by signal %d%s" % (-status, ", perhaps for want of memory" if status == -9 else ""))
    else:
        say("the agent ended with status %d: %s" % (status, MEANINGS.get(status, "it failed; its last lines say why")))
    if status:
        raise RuntimeError("gpupool: this worker ended with status %d; the lines above say why" % status)


def main():
    found = gpus()
    say("GPUs seen: " + (", ".join(found) or "none"))
    if RESOURCE == "gpu" and not found:  # before the token is used, so that the notebook can be run again
        raise RuntimeError("gpupool: a GPU was asked for, and this machine has none. Choose one (in Colab: Runtime > Change "
                           "runtime type), then run this again.")
    directory = tempfile.mkdtemp(prefix="gpupool-")
    if DETACH:
        detach(unpack(directory), directory)
        return
    try:
        status = follow(unpack(directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    judge(status)


if __name__ == "__main__":
    main()
