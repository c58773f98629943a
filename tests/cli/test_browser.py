"""`gpupool browser sign-in`: an ordinary browser on an account's profile, and nobody else meanwhile."""
import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest

GPUPOOL = Path(__file__).resolve().parents[2] / "build" / os.environ.get("BUILD", "release") / "gpupool"
CHROMIUM = """#!/bin/sh
printf '%s\\n' "$@" >"$HOME/arguments"
env >"$HOME/environment"
while [ -e "$HOME/open" ]; do sleep 0.05; done
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "browser" / "7").mkdir(parents=True)
    (tmp_path / "browser" / "7" / "account.json").write_text('{"state":"needs_human"}')
    program = tmp_path / "chromium"
    program.write_text(CHROMIUM)
    program.chmod(0o755)
    os.chmod(tmp_path / "browser", 0o700)
    return tmp_path


def command(place, *words):
    env = {"PATH": os.environ["PATH"], "GPUPOOL_STATE": str(place), "GPUPOOL_CHROMIUM": str(place / "chromium"), "DISPLAY": ":9",
           "GPUPOOL_GOOGLE_ACCOUNTS_URL": "http://127.0.0.1:1", "SECRET": "x"}
    return subprocess.Popen([str(GPUPOOL), "browser", "sign-in", *words], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def until(what, seconds=30):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_window(place):
    seven = place / "browser" / "7"
    (seven / "open").touch()
    window = command(place, "7")
    until((seven / "environment").exists)
    until(lambda: (seven / "environment").read_text())
    # The instance, and a second window, wait.
    with open(seven / "lock") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    other = command(place, "7")
    assert "in use" in other.communicate(timeout=30)[0] and other.returncode == 5
    (seven / "open").unlink()
    out = window.communicate(timeout=30)[0]
    assert window.returncode == 0 and "gpupool accounts check 7" in out, out
    arguments = (seven / "arguments").read_text().split("\n")
    assert f"--user-data-dir={seven}/profile" in arguments and arguments[-2].startswith("http://127.0.0.1:1/ServiceLogin")
    assert not [a for a in arguments if "headless" in a or "remote-debugging" in a or "automation" in a], "nothing drives it"
    environment = (seven / "environment").read_text()
    assert "DISPLAY=:9" in environment and "SECRET" not in environment
    assert not (seven / "account.json").exists(), "the next check looks anew"


def test_new_account_and_bad_words(place):
    done = command(place, "8")
    assert done.communicate(timeout=30) and done.returncode == 0
    assert (place / "browser" / "8").stat().st_mode & 0o777 == 0o700
    done = command(place, "../8")
    assert "accounts list" in done.communicate(timeout=30)[0] and done.returncode == 2


def test_browser_of_a_run_is_open(place):
    profile = place / "browser" / "7" / "profile"
    profile.mkdir()
    (profile / "SingletonLock").symlink_to(f"here-{os.getpid()}")
    done = command(place, "7")
    assert "stop its notebook" in done.communicate(timeout=30)[0] and done.returncode == 5


def test_nowhere(tmp_path):
    done = command(tmp_path, "7")
    assert "browser_dir" in done.communicate(timeout=30)[0] and done.returncode == 3
