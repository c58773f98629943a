"""Words, options, tokens and exit codes."""
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import BIN, ROOT, problem

COMMANDS = [line.strip().split("  ")[0] for line in subprocess.run(
    [str(BIN / "gpupool"), "help"], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    if line.startswith("  ") and not line.startswith("   ")]


def test_overview_names_what_there_is():
    assert {"jobs submit", "notebooks list", "doctor", "dev", "migrate"} <= set(COMMANDS)
    assert COMMANDS == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_without_a_server(gp, command):
    done = gp(*command.split(), "--help", token=None, code=0)
    assert done.out.startswith("usage: gpupool " + command)


@pytest.mark.parametrize("words", [
    [], ["nothing"], ["jobs"], ["jobs", "nothing"], ["jobs", "show"], ["jobs", "show", "1", "2"], ["jobs", "list", "--nothing"],
    ["jobs", "list", "--limit"], ["jobs", "list", "--limit", "none"], ["jobs", "list", "--limit=0"], ["jobs", "list", "--all=yes"],
    ["jobs", "list", "-x"], ["--nothing", "jobs", "list"], ["jobs", "wait", "1", "--timeout", "soon"], ["jobs", "cancel"],
    ["jobs", "submit"], ["jobs", "submit", "no-such-file.py"], ["notebooks", "edit", "1"], ["completion", "fish"],
])
def test_usage_is_2(gp, server, words):
    done = gp(*words, code=2)
    assert done.err or not words
    assert not server.seen


@pytest.mark.parametrize("status, code", [
    (400, 2), (401, 4), (403, 4), (404, 3), (409, 5), (410, 5), (412, 5), (413, 2), (415, 2), (422, 2), (429, 6), (500, 8), (502, 8),
    (503, 6), (504, 7),
])
def test_status_gives_the_exit_code(gp, server, status, code):
    server.on("GET", "/api/gpu/jobs/7", problem(status, "Title", "What went wrong.", [{"field": "a.b", "message": "is odd"}]))
    done = gp("jobs", "show", "7", code=code)
    assert "What went wrong." in done.err and "a.b: is odd" in done.err
    assert not done.out


def test_a_message_is_said_once_with_its_field(gp, server):
    server.on("GET", "/api/gpu/jobs/7", problem(400, "Bad Request", "a.b is odd, and there is more",
                                                [{"field": "a.b", "message": "is odd"}, {"field": "c", "message": "is late"}]))
    assert gp("jobs", "show", "7", code=2).err == "gpupool: a.b: is odd; c: is late\n"


def test_no_server_is_6(gp):
    gp("jobs", "list", "--server", "http://127.0.0.1:9", code=6)


def test_no_json_is_8(gp, server):
    server.on("GET", "/api/gpu/jobs/7", (200, "text/html", b"<html>"))
    gp("jobs", "show", "7", code=8)


def test_no_token_is_4_and_says_where_to_put_one(gp, server):
    done = gp("jobs", "list", token=None, code=4)
    assert "GPUPOOL_TOKEN" in done.err and not server.seen


def test_tokens_come_in_their_order(gp, server, tmp_path):
    server.on("GET", "/api/gpu/jobs", {"jobs": []})

    def used(**more):
        gp("jobs", "list", code=0, **more)
        return server.seen[-1]["headers"]["authorization"]
    state = tmp_path / "state"
    state.mkdir()
    (state / "admin-token").write_text("gpt_state\n")
    env = {"GPUPOOL_STATE": str(state)}
    assert used(token=None, env=env) == "Bearer gpt_state"
    config = gp.home / ".config" / "gpupool"
    config.mkdir(parents=True)
    (config / "token").write_text("gpt_home\n")
    assert used(token=None, env=env) == "Bearer gpt_home"
    assert used(env=env) == "Bearer gpt_secret"
    other = tmp_path / "token"
    other.write_text("gpt_file")
    gp("--token-file", str(other), "jobs", "list", code=0)
    assert server.seen[-1]["headers"]["authorization"] == "Bearer gpt_file"
    other.write_text("two\nlines\n")
    gp("--token-file", str(other), "jobs", "list", code=2)


def test_options_may_stand_anywhere(gp, server):
    server.on("GET", "/api/gpu/jobs", {"jobs": []})
    gp("--json", "jobs", "list", "--tag=a b&c", "--limit", "7", code=0)
    assert server.seen[-1]["query"] == {"tag": "a b&c", "limit": "7"}


def test_ids_cannot_reach_another_path(gp, server):
    gp("jobs", "show", "../users?x=1", code=3)
    assert server.seen[-1]["path"] == "/api/gpu/jobs/..%2Fusers%3Fx%3D1"


def test_completion_completes(tmp_path):
    script = tmp_path / "gpupool.bash"
    script.write_bytes(subprocess.run([str(BIN / "gpupool"), "completion", "bash"], stdout=subprocess.PIPE, check=True).stdout)

    def complete(*words):
        text = 'source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _gpupool 2>/dev/null; echo "${COMPREPLY[@]}"' % (
            script, " ".join("'%s'" % w for w in words), len(words) - 1)
        return subprocess.run(["bash", "-c", text], stdout=subprocess.PIPE, check=True, cwd=tmp_path).stdout.decode().split()
    assert {"jobs", "notebooks", "doctor"} <= set(complete("gpupool", ""))
    assert complete("gpupool", "no") == ["notebooks"]
    assert {"submit", "list", "wait"} <= set(complete("gpupool", "jobs", ""))
    assert complete("gpupool", "jobs", "submit", "--acc") == ["--accelerator="]
    assert "--json" in complete("gpupool", "jobs", "list", "--")
    (tmp_path / "train.py").write_text("")
    assert complete("gpupool", "jobs", "submit", "tr") == ["train.py"]


def test_a_closed_pipe_is_no_crash(gp, server):
    server.on("GET", "/api/gpu/jobs", {"jobs": [{"id": str(i), "name": "x" * 100} for i in range(400)]})
    done = subprocess.run(["bash", "-c", '"$0" jobs list --all | head -1', str(BIN / "gpupool")], stdout=subprocess.PIPE,
                          env={**os.environ, "GPUPOOL_PUBLIC_URL": server.url, "GPUPOOL_TOKEN": "t"}, timeout=30)
    assert done.stdout.startswith(b"ID")


def test_nginx_gets_what_was_asked(gp):
    text = gp("nginx-conf", "--listen", "443 ssl", "--server-name", "pool.example", token=None, env={"GPUPOOL_API_RATE": "7r/s", "GPUPOOL_ADDRESS_RATE": "77r/s"}, code=0).out
    assert "zone=gpupool_addresses:8m rate=77r/s" in text and text.count("limit_req zone=gpupool_addresses") == text.count("limit_req zone=gpupool_calls")
    assert "listen 443 ssl;" in text and "server_name pool.example;" in text and "rate=7r/s" in text and "@" not in text
    for bad in ("80; include /etc/passwd", "a\nb", "x}"):
        gp("nginx-conf", "--listen", bad, token=None, code=2)
    gp("nginx-conf", token=None, env={"GPUPOOL_API_RATE": "fast"}, code=2)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody who may not install")
def test_lacking_packages_are_named_to_who_may_not_install():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        try_packages(Path(folder))


def try_packages(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "id", "head", "echo", "cat", "sed", "command"):
        if os.path.exists("/usr/bin/" + name):
            (tools / name).symlink_to("/usr/bin/" + name)
    (tools / "dpkg-query").write_text("#!/bin/sh\nfor last; do :; done\n[ $last = libfcgi0ldbl ] && echo 2.4.2-2 || { [ $last = check ] || echo installed; }\n")
    (tools / "dpkg").write_text("#!/bin/sh\nexit 0\n")
    for name in ("dpkg-query", "dpkg"):
        os.chmod(tools / name, 0o755)
    script = tmp_path / "packages.sh"
    script.write_bytes((ROOT / "src" / "gen" / "packages.sh").read_bytes())
    done = subprocess.run(["/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", str(script), "check"],
                          env={"PATH": str(tools) + ":/nowhere"}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = done.stderr.decode()
    assert done.returncode == 1 and "apt-get install -y" in said, said
    assert " check " in said + " " and "libfcgi-dev libfcgi0ldbl" in said and "shellcheck" not in said, said
