"""gpupool secrets: a value comes from standard input or a terminal without echo, and is shown by nothing."""
import os
import pty
import select
import time

import pytest

from conftest import BIN

SECRETS = "/api/gpu/secrets"
MADE = {"name": "HF_TOKEN", "createdAt": "2026-11-24T08:00:00.000Z", "updatedAt": "2026-11-24T09:00:00.000Z", "lastUsedAt": None}


@pytest.mark.parametrize("given, sent", [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("two\nlines\n\n", "two\nlines\n"),
                                         (" blanks ", " blanks "), ("ü\t\"", "ü\t\"")])
def test_set_takes_the_value_from_standard_input(gp, server, given, sent):
    server.on("POST", SECRETS, MADE, status=201)
    done = gp("secrets", "set", "HF_TOKEN", stdin=given, code=0)
    assert server.last("POST", SECRETS)["json"] == {"name": "HF_TOKEN", "value": sent}
    assert "HF_TOKEN" in done.out and sent.strip() not in done.out + done.err


def test_set_refuses_what_is_no_value(gp, server):
    for value in ("", "\n", b"\xff\xfe", "x" * (32768 + 1), "x" * 100000):
        done = gp("secrets", "set", "A", stdin=value, code=2)
        assert done.err and not server.seen
    server.on("POST", SECRETS, MADE)
    gp("secrets", "set", "A", stdin="x" * 32768 + "\n", code=0)


def test_the_value_is_no_word_of_the_command_line(gp, server):
    gp("secrets", "set", "A", "value", code=2)
    gp("secrets", "set", "A=value", stdin="x", code=3)      # a name for the server to refuse
    assert server.last("POST", SECRETS)["json"]["name"] == "A=value"


def test_list_and_remove(gp, server):
    server.on("GET", SECRETS, {"secrets": [MADE]})
    assert "HF_TOKEN" in gp("secrets", "list", code=0).out
    assert server.last("GET", SECRETS)["query"] == {}
    assert '"createdAt"' in gp("secrets", "list", "--json", code=0).out
    server.on("DELETE", SECRETS + "/A", (204, "application/json", b""))
    gp("secrets", "remove", "A", code=0)
    gp("secrets", "remove", "A", "B", code=3)
    assert [c["path"] for c in server.seen if c["method"] == "DELETE"] == [SECRETS + "/A", SECRETS + "/A", SECRETS + "/B"]
    gp("secrets", "remove", code=2)


def test_jobs_name_them(gp, server, tmp_path):
    (tmp_path / "a.py").write_text("print(1)")
    server.on("POST", "/api/gpu/jobs", {"jobId": "7"}, status=202)
    gp("jobs", "submit", "a.py", "--secret", "A", "--secret=B", code=0)
    assert server.last("POST", "/api/gpu/jobs")["json"]["secrets"] == ["A", "B"]
    gp("jobs", "submit", "a.py", code=0)
    assert "secrets" not in server.last("POST", "/api/gpu/jobs")["json"]


def on_a_terminal(server, home, typed):
    """What is shown while `gpupool secrets set A` asks there, and its exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "GPUPOOL_PUBLIC_URL": server.url, "GPUPOOL_TOKEN": "gpt_x",
               "GPUPOOL_STATE": str(home), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")}
        os.execve(str(BIN / "gpupool"), ["gpupool", "secrets", "set", "A"], env)
    shown, end = b"", time.monotonic() + 20
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                more = os.read(fd, 4096)
            except OSError:
                break
            shown += more
            if b"Value: " in shown and typed:
                os.write(fd, typed)
                typed = b""
    os.close(fd)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_terminal_is_asked_without_echo(server, tmp_path):
    server.on("POST", SECRETS, MADE, status=201)
    shown, code = on_a_terminal(server, tmp_path, b"typed-value\n")
    assert code == 0 and "typed-value" not in shown
    assert server.last("POST", SECRETS)["json"] == {"name": "A", "value": "typed-value"}


def test_ctrl_c_while_it_asks_sends_nothing(server, tmp_path):
    shown, code = on_a_terminal(server, tmp_path, b"typed\x03\n")
    assert code == 130 and "typed" not in shown and not server.seen
