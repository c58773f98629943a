"""Accounts, their hours, and what sessions left: what is sent, and that no secret is a word of the command line."""
import json
import os
import pty
import select
import subprocess

import pytest

from conftest import BIN, problem, reply

ACCOUNTS = "/api/gpu/accounts"
NOTEBOOKS = "/api/gpu/workers/notebooks"
ACCOUNT = {"id": "3", "provider": "kaggle", "owner": "ann", "identity": "annk", "label": "", "status": "ok", "reason": None,
           "checkedAt": None, "sharing": "none", "createdAt": "2026-11-03T10:00:00Z"}
KEY = "0123456789abcdef0123456789abcdef"


def test_a_file_is_sent_as_it_is(gp, server, tmp_path):
    server.on("POST", ACCOUNTS, ACCOUNT, 201)
    text = json.dumps({"username": "annk", "key": KEY})
    (tmp_path / "kaggle.json").write_text(text + "\n")
    said = gp("accounts", "add", "kaggle", "--label", "mine", "--kaggle-json", "kaggle.json")
    assert server.last("POST", ACCOUNTS)["json"] == {"provider": "kaggle", "label": "mine", "credentials": text}
    assert "annk" in said.out and KEY not in said.out + said.err


def test_standard_input_answers_the_questions(gp, server):
    server.on("POST", ACCOUNTS, ACCOUNT, 201)
    server.on("PATCH", ACCOUNTS + "/3", ACCOUNT)
    gp("accounts", "add", "kaggle", stdin="annk\n%s\n" % KEY)
    assert server.last("POST", ACCOUNTS)["json"]["credentials"] == {"username": "annk", "key": KEY}
    gp("accounts", "replace", "3", stdin="\nKGAT_x\n")
    assert server.last("PATCH", ACCOUNTS + "/3")["json"] == {"credentials": {"token": "KGAT_x"}}
    for nothing in ("", "annk\n", "\n", "\n\n"):
        assert "--kaggle-json" in gp("accounts", "add", "kaggle", stdin=nothing, code=2).err
    assert len([c for c in server.seen if c["method"] == "POST"]) == 1


def read_until(terminal, wanted):
    """What comes on the terminal up to these bytes, or to its end."""
    seen = b""
    while wanted not in seen:
        assert select.select([terminal], [], [], 20)[0], seen
        try:
            part = os.read(terminal, 1000)
        except OSError:
            part = b""
        if not part:
            break
        seen += part
    return seen


def test_a_terminal_shows_no_key(server, tmp_path):
    server.on("POST", ACCOUNTS, ACCOUNT, 201)
    control, terminal = pty.openpty()
    env = {"PATH": "/usr/bin:/bin", "GPUPOOL_PUBLIC_URL": server.url, "GPUPOOL_TOKEN": "gpt_x", "HOME": str(tmp_path)}
    child = subprocess.Popen([BIN / "gpupool", "accounts", "add", "kaggle"], stdin=terminal, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    shown = b""
    for prompt, answer in ((b"user name", b"annk\n"), (b"key: ", KEY.encode() + b"\n")):
        shown += read_until(control, prompt)
        os.write(control, answer)
    shown += read_until(control, b"no such bytes")
    os.close(control)
    assert child.wait(20) == 0
    assert b"annk" in shown and KEY.encode() not in shown
    assert server.last("POST", ACCOUNTS)["json"]["credentials"] == {"username": "annk", "key": KEY}


def test_check_show_and_remove(gp, server):
    server.on("POST", ACCOUNTS + "/3/check", {**ACCOUNT, "status": "unchecked"}, 202)
    server.on("GET", ACCOUNTS + "/3", {**ACCOUNT, "status": "needs_human", "reason": "Kaggle\033[31m refused it."})
    server.on("GET", ACCOUNTS, {"accounts": [ACCOUNT]})
    server.on("DELETE", ACCOUNTS + "/3", (204, "text/plain", b""))
    assert "unchecked" in gp("accounts", "check", "3").out
    shown = gp("accounts", "show", "3").out
    assert "needs_human" in shown and "refused it" in shown and "\033" not in shown
    assert "annk" in gp("accounts", "list").out
    assert gp("accounts", "remove", "3").out == ""
    server.on("DELETE", ACCOUNTS + "/3", {**ACCOUNT, "status": "deleting", "reason": "Notebooks of it that are not deleted yet: 2."}, 202)
    said = gp("accounts", "remove", "3").out
    assert "deleting" in said and "not deleted yet: 2" in said
    assert not server.last("DELETE", ACCOUNTS + "/3")["query"]
    gp("accounts", "remove", "3", "--abandon")
    assert server.last("DELETE", ACCOUNTS + "/3")["query"] == {"abandon": "true"}
    server.on("DELETE", ACCOUNTS + "/3", problem(409, "Conflict", "It has notebooks of other people."))
    assert "notebooks" in gp("accounts", "remove", "3", code=5).err


def test_quota_is_a_line_a_resource(gp, server):
    gpu = {"resource": "gpu", "limitSeconds": 108000, "marginSeconds": 900, "usedSeconds": 51120, "reservedSeconds": 34560,
           "remainingSeconds": 21420, "resetsAt": "2026-11-28T00:00:00Z", "concurrent": {"limit": 2, "used": 1}}
    cpu = {"resource": "cpu", "limitSeconds": None, "usedSeconds": None, "remainingSeconds": None, "resetsAt": None,
           "concurrent": {"limit": 5, "used": 0}}
    server.on("GET", "/api/gpu/quota", {"accounts": [{"id": "3", "provider": "kaggle", "owner": "ann", "resources": [gpu, cpu]}]})
    head, first, second = gp("quota").out.splitlines()
    assert head.split()[:5] == ["ACCOUNT", "PROVIDER", "OWNER", "OF", "LEFT"]
    assert first.split()[:4] == ["3", "kaggle", "ann", "gpu"] and "5.9 h" in first and "30.0 h" in first
    assert second.split()[:5] == ["3", "kaggle", "ann", "cpu", "-"]
    assert json.loads(gp("quota", "--json").out)["accounts"][0]["resources"][0]["remainingSeconds"] == 21420


def test_policies_say_what_may_be_asked(gp, server):
    kaggle = {"provider": "kaggle", "notice": "One account a person.", "source": "terms", "asOf": "2026-11-24",
              "limits": [{"resource": "gpu", "weekSeconds": 108000, "sessionSeconds": 43200, "concurrent": 2, "asOf": "2026-11-24", "source": "s"}],
              "accelerators": [{"name": "gpu", "resource": "gpu", "usable": True, "note": "Two T4."},
                               {"name": "NvidiaTeslaP100", "resource": "gpu", "usable": False, "note": "Retired."}]}
    local = {"provider": "local", "notice": "", "source": "own machine", "asOf": "2026-11-24", "limits": [], "accelerators": []}
    server.on("GET", "/api/gpu/policies", {"policies": [kaggle, local]})
    said = gp("policies").out
    assert "kaggle: One account a person. (as of 2026-11-24)" in said and "local: own machine" in said
    assert "NvidiaTeslaP100" in said and "Retired." in said
    assert "local" not in gp("policies", "kaggle").out
    gp("policies", "moon", code=3)


def test_a_notebook_with_everything(gp, server, tmp_path):
    server.on("POST", NOTEBOOKS, {"id": "7", "title": "t", "provider": "kaggle"}, 202)
    (tmp_path / "kaggle.json").write_text("KGAT_secret\n")
    gp("notebooks", "add", "kaggle", "--accelerator", "T4", "--account", "3", "--dataset", "a/b", "--dataset", "a/c", "--model", "a/b/c/d",
       "--competition", "digits", "--kernel", "a/k", "--kaggle-json", "kaggle.json")
    assert server.last("POST", NOTEBOOKS)["json"] == {
        "provider": "kaggle", "accelerator": "T4", "accountId": "3", "credentials": "KGAT_secret",
        "inputs": {"datasets": ["a/b", "a/c"], "models": ["a/b/c/d"], "competitions": ["digits"], "kernels": ["a/k"]}}
    gp("notebooks", "add", "local")
    assert server.last("POST", NOTEBOOKS)["json"] == {"provider": "local", "accelerator": "cpu"}
    gp("notebooks", "add", "kaggle")
    assert server.last("POST", NOTEBOOKS)["json"] == {"provider": "kaggle", "accelerator": "gpu"}


@pytest.fixture
def left(server):
    files = [{"name": "run.log", "size": 3, "kept": True}, {"name": "my model/é w.bin", "size": 2, "kept": True},
             {"name": "big.tar", "size": 5000000, "kept": False}]
    base = NOTEBOOKS + "/7/sessions/11/outputs"
    server.on("GET", NOTEBOOKS + "/7/sessions", {"sessions": [{"id": "12", "outputs": 0}, {"id": "11", "outputs": 3}, {"id": "10", "outputs": 1}]})
    server.on("GET", base, lambda call: reply({"outputs": files}))
    server.on("GET", base + "/run.log", (200, "text/plain", b"\xef\xbf\xbd"))
    server.on("GET", base + "/my%20model/%C3%A9%20w.bin", (200, "application/octet-stream", b"\0\1"))
    return files


def test_outputs_of_the_newest_session_that_left_some(gp, left, tmp_path):
    assert "run.log" in gp("notebooks", "outputs", "7").out
    said = gp("notebooks", "outputs", "7", "--to", "out")
    assert (tmp_path / "out" / "run.log").read_bytes() == b"\xef\xbf\xbd"
    assert (tmp_path / "out" / "my model" / "é w.bin").read_bytes() == b"\0\1"
    assert "big.tar was too large to keep" in said.err and sorted(os.listdir(tmp_path / "out")) == ["my model", "run.log"]
    gp("notebooks", "outputs", "7", "big.tar", "--to", "out", code=3)
    gp("notebooks", "outputs", "7", "--session", "9", code=3)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a//b", "a\033[31m", "a\u009b31m", ""])
def test_no_output_name_leads_elsewhere(gp, left, tmp_path, name):
    left[:] = [{"name": name, "size": 1, "kept": True}]
    gp("notebooks", "outputs", "7", "--to", "out", code=8)
    assert os.listdir(tmp_path / "out") == []


def test_no_session_left_anything(gp, server):
    server.on("GET", NOTEBOOKS + "/7/sessions", {"sessions": [{"id": "12", "outputs": 0}]})
    assert "left anything" in gp("notebooks", "outputs", "7", code=3).err


def test_policies_are_changed_by_resource_or_as_a_whole(gp, server):
    path = "/api/gpu/policies/kaggle"
    kaggle = {"provider": "kaggle", "notice": "One account a person.", "source": "a letter", "asOf": "2026-11-24", "accelerators": [],
              "limits": [{"resource": "gpu", "sessionSeconds": 43200, "sessionMarginSeconds": 3600, "weekSeconds": 72000, "weekMarginSeconds": 900,
                          "concurrent": None, "source": "a letter", "asOf": "2026-11-24"}]}
    server.on("PATCH", path + "/limits/gpu", kaggle)
    server.on("PATCH", path, kaggle)
    out = gp("policies", "set", "kaggle", "gpu", "--week", "20h", "--week-margin", "15m", "--concurrent", "none", "--source", "a letter").out
    assert server.last("PATCH", path + "/limits/gpu")["json"] == {"weekSeconds": 72000, "weekMarginSeconds": 900, "concurrent": None, "source": "a letter"}
    assert "One account a person." in out and "20.0 h" in out
    gp("policies", "set", "kaggle", "--sharing", "yes", "--notice", "Ask first.", "--source", "a contract")
    assert server.last("PATCH", path)["json"] == {"sharingAllowed": True, "notice": "Ask first.", "source": "a contract"}
    sent = len(server.seen)
    for wrong in (("gpu", "--week", "20h"), ("gpu", "--week", "soon", "--source", "x"), ("--week", "20h", "--source", "x"), ("gpu", "--sharing", "no", "--source", "x"),
                  ("--sharing", "perhaps", "--source", "x"), ("gpu", "--week-margin", "none", "--source", "x"), ("gpu", "--concurrent", "0", "--source", "x")):
        gp("policies", "set", "kaggle", *wrong, code=2)
    assert len(server.seen) == sent
    server.on("PATCH", path + "/limits/gpu", problem(400, "Bad Request", "", [{"field": "weekMarginSeconds", "message": "must not be more than weekSeconds"}]))
    assert "weekMarginSeconds: must not be more" in gp("policies", "set", "kaggle", "gpu", "--week-margin", "90h", "--source", "x", code=2).err


def test_a_budget_is_shown_and_set(gp, server):
    path = ACCOUNTS + "/3"
    budget = {"monthSeconds": 36000, "monthMoney": None, "currency": "EUR", "usedSeconds": 1800, "reservedSeconds": 0, "usedMoney": 0.27,
              "reservedMoney": 0, "month": "2026-11", "resetsAt": "2026-12-01T00:00:00Z",
              "prices": [{"accelerator": "T4", "perHour": 0.54, "source": "console", "asOf": "2026-11-24"}]}
    server.on("GET", path, {**ACCOUNT, "budget": budget})
    server.on("PATCH", path, {**ACCOUNT, "budget": budget})
    shown = gp("accounts", "budget", "3").out
    assert "2026-11" in shown and "0.54" in shown and not [c for c in server.seen if c["method"] == "PATCH"]
    gp("accounts", "budget", "3", "--money", "20", "--currency", "EUR", "--price", "T4=0.54", "--price", "cpu=0.2", "--source", "console")
    assert server.last("PATCH", path)["json"] == {"budget": {
        "monthMoney": 20, "currency": "EUR", "monthSeconds": 36000,
        "prices": [{"accelerator": "T4", "perHour": 0.54, "source": "console"}, {"accelerator": "cpu", "perHour": 0.2, "source": "console"}]}}
    gp("accounts", "budget", "3", "--hours", "none")
    assert server.last("PATCH", path)["json"] == {"budget": {"monthSeconds": None}}
    for wrong in (["--hours", "x"], ["--money", "-1"], ["--price", "T4"], ["--price", "=1"]):
        gp("accounts", "budget", "3", *wrong, code=2)
    assert json.loads(gp("accounts", "budget", "3", "--json").out)["month"] == "2026-11"


def test_google_accounts_are_added_from_files(gp, server, tmp_path):
    server.on("POST", ACCOUNTS, {**ACCOUNT, "provider": "colab"}, status=201)
    (tmp_path / "client.json").write_text('{"web":{}}')
    gp("accounts", "add", "colab", "--client-json", str(tmp_path / "client.json"), "--compute-units")
    assert server.last("POST", ACCOUNTS)["json"] == {"provider": "colab", "credentials": '{"web":{}}', "computeUnits": True}
    gp("accounts", "add", "colab-enterprise", "--key-file", str(tmp_path / "client.json"), "--region", "us-central1", "--bucket", "b")
    assert server.last("POST", ACCOUNTS)["json"]["credentials"] == {"serviceAccount": '{"web":{}}', "region": "us-central1", "bucket": "b"}


def test_connect_prints_where_to_consent(gp, server):
    server.on("POST", ACCOUNTS + "/3/consent", {"url": "https://accounts.google.com/x", "redirectUri": "https://h/oauth/google/callback"})
    assert gp("accounts", "connect", "3").out.strip() == "https://accounts.google.com/x"
