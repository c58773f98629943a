"""The scaling policy, plans, and rounds that are decided again on this machine."""
import json

from conftest import problem

POLICY = {"owner": "1", "ownerName": "ada", "enabled": False, "paused": False, "accelerator": None, "minWorkers": 0, "maxWorkers": 3,
          "queueThreshold": 5, "targetWaitSeconds": 300, "upDelaySeconds": 30, "downDelaySeconds": 300, "idleStopSeconds": 600,
          "accounts": ["4"], "accountOrder": "listed", "version": 7, "updatedAt": None}
ACTION = {"action": "create", "accountId": "4", "provider": "kaggle", "accelerator": "T4",
          "reason": {"code": "queue_threshold", "message": "More jobs wait than the threshold allows."},
          "reservesSeconds": 39600, "remainingAfterSeconds": 67500}
PLAN = {"planId": "17bf7518-8c45-4b42-ad18-7632d1c3c43e", "expiresAt": "2026-11-24T12:00:00Z", "enabled": True, "actions": [ACTION],
        "jobs": [{"jobId": "9", "startsAt": "2026-11-24T12:01:00Z", "reason": {"code": "cold_start", "message": "A worker is starting."}}]}
PATH = "/api/gpu/autoscale"


def test_set_changes_what_was_given(gp, server):
    server.on("GET", PATH, POLICY)
    server.on("PUT", PATH, {**POLICY, "enabled": True})
    out = gp("autoscale", "set", "--on", "--max", "9", "--idle-stop", "none", "--up-delay", "2m", "--accelerator", "T4").out
    sent = server.last("PUT", PATH)
    assert sent["headers"]["if-match"] == '"v7"'
    assert sent["json"] == {"enabled": True, "paused": False, "accelerator": "T4", "minWorkers": 0, "maxWorkers": 9, "queueThreshold": 5,
                            "targetWaitSeconds": 300, "upDelaySeconds": 120, "downDelaySeconds": 300, "idleStopSeconds": None,
                            "accounts": ["4"], "accountOrder": "listed"}
    assert "enabled" in out and "true" in out
    gp("autoscale", "set", "--account", "5", "--account", "6", "--accelerator", "none", "--pause")
    sent = server.last("PUT", PATH)["json"]
    assert sent["accounts"] == ["5", "6"] and sent["accelerator"] is None and sent["paused"] is True
    gp("autoscale", "set", "--account", "all")
    assert server.last("PUT", PATH)["json"]["accounts"] == []


def test_faults_are_told(gp, server):
    server.on("GET", PATH, POLICY)
    gp("autoscale", "set", "--max", "-1", code=2)
    gp("autoscale", "set", "--up-delay", "soon", code=2)
    assert all(c["method"] == "GET" for c in server.seen)
    server.on("PUT", PATH, problem(400, "Bad Request", "", [{"field": "maxWorkers", "message": "must not be less than minWorkers"}]))
    assert "maxWorkers: must not be less than minWorkers" in gp("autoscale", "set", "--max", "0", code=2).err


def test_plan_and_commit(gp, server):
    server.on("POST", PATH + "/plan", PLAN)
    out = gp("plan").out
    assert "create" in out and "11h 0m" in out and "18h 45m" in out and "A worker is starting." in out
    assert [c["path"] for c in server.seen] == [PATH + "/plan"]
    server.on("POST", f"{PATH}/plan/{PLAN['planId']}/commit", {"planId": PLAN["planId"], "actions": [{**ACTION, "workerId": "12"}]})
    assert "12" in gp("plan", "--commit").out
    server.on("POST", f"{PATH}/plan/{PLAN['planId']}/commit", problem(409, "Conflict", "The pool has changed since this was planned."))
    assert "has changed" in gp("plan", "--commit", code=5).err
    server.on("POST", PATH + "/plan", {**PLAN, "actions": [], "jobs": []})
    assert gp("plan").out == "Nothing is to be done.\n"
    server.on("POST", PATH + "/plan", {"actions": []})
    gp("plan", "--commit", code=8)


SNAPSHOT = {"accounts": [{"id": 1, "owner": 1, "provider": "local", "startable": True, "sharing": "all", "sharedWith": [], "blocked": "",
                          "blockedWhy": "", "blockedUntil": 0, "cold": 60, "resources": None}],
            "lanes": [{"id": 1, "owner": 1, "accelerator": "", "gpus": 1, "priority": 5, "depth": 12, "waited": 3, "estimate": 0}],
            "names": [],
            "policies": [{"owner": 1, "paused": False, "accelerator": "", "min": 0, "max": 3, "threshold": 5, "targetWait": 300, "upDelay": 0,
                          "downDelay": 0, "idleStop": 600, "accounts": [], "expiring": True, "upSince": 0, "downSince": 0}],
            "workers": [], "now": 1764000000000}


def test_replay(gp, server):
    rounds = PATH + "/rounds"
    server.on("GET", rounds + "/1", {"id": "1", "at": "2026-11-24T12:00:00Z", "snapshot": SNAPSHOT, "decisions": {"actions": []}})
    done = gp("replay", "1", "--json", code=1)
    again = json.loads(done.out)["rounds"][0]
    assert again["same"] is False and again["now"] == "2 create" and again["was"] == "nothing"
    # What it says now is what it says next time.
    server.on("GET", rounds + "/1", {"id": "1", "at": "2026-11-24T12:00:00Z", "snapshot": SNAPSHOT, "decisions": again["decisions"]})
    server.on("GET", rounds, {"rounds": [{"id": "1", "at": "2026-11-24T12:00:00Z", "actions": []}]})
    assert "0 of 1 rounds" in gp("replay").out
    assert "1 of 1 rounds" in gp("replay", "--max", "1").out
    assert "0 of 1 rounds" in gp("replay", "--max", "1", "--owner", "2").out
    gp("replay", "--max", "none", code=2)
    gp("replay", "7", code=3)


def test_what_is_no_snapshot_is_refused(gp, server):
    path = PATH + "/rounds/1"
    for broken in ({}, [], None, "x", {**SNAPSHOT, "lanes": [{}]}, {**SNAPSHOT, "workers": "none"}, {**SNAPSHOT, "accounts": [7]},
                   {**SNAPSHOT, "policies": [{**SNAPSHOT["policies"][0], "max": "many"}]}):
        server.on("GET", path, {"id": "1", "at": "", "snapshot": broken, "decisions": {}})
        assert "no snapshot" in gp("replay", "1", code=2).err, broken
