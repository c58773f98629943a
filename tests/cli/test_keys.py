"""`gpupool keys` as an operator runs it: on a throwaway PostgreSQL, with files that only its user may read."""
import json
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from conftest import BIN, ROOT

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))


@pytest.fixture(scope="module")
def cluster():
    directory = Path(tempfile.mkdtemp(prefix="gpk-"))
    bindir, data = POSTGRES[-1].parent, directory / "data"
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(directory, "postgres", "postgres")
    run = lambda *words, **more: subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                                cwd="/", **more)
    run(bindir / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", **user)
    server = subprocess.Popen([str(bindir / "postgres"), "-D", str(data), "-k", str(directory), "-c", "listen_addresses=", "-c", "fsync=off"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True, **user)
    directory.chmod(0o755)
    psql = lambda *words: subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", str(directory), "-U", "postgres", *words], check=True,
                                         stdout=subprocess.PIPE).stdout.decode().strip()
    end = time.monotonic() + 30
    while subprocess.run(["psql", "-h", str(directory), "-U", "postgres", "-c", "select 1"], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL).returncode:
        assert time.monotonic() < end and server.poll() is None
        time.sleep(0.05)
    psql("-f", str(ROOT / "sql/roles.sql"))
    psql("-f", str(ROOT / "sql/database.sql"))
    conninfo = lambda role: "host=%s dbname=gpupool user=gpupool_%s" % (directory, role)
    subprocess.run([str(BIN / "gpupool"), "migrate"], check=True, stdout=subprocess.DEVNULL,
                   env={"PATH": "/usr/bin:/bin", "GPUPOOL_DATABASE": conninfo("owner"), **sanitizers()})
    yield conninfo, lambda text: psql("-d", "gpupool", "-c", "set search_path = gpupool", "-c", text)
    server.terminate()
    server.wait()
    shutil.rmtree(directory)


def sanitizers():
    return {name: os.environ[name] for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS") if name in os.environ}


class Keys:
    def __init__(self, conninfo, sql, directory):
        self.conninfo, self.sql, self.dir = conninfo, sql, directory

    def command(self, *words, role="provisioner"):
        env = {"PATH": "/usr/bin:/bin", "GPUPOOL_DATABASE": self.conninfo(role), "GPUPOOL_KEYS": str(self.dir), **sanitizers()}
        return {"args": [str(BIN / "gpupool"), "keys", *words], "env": env, "stdin": subprocess.DEVNULL}

    def __call__(self, *words, code=0, role="provisioner"):
        done = subprocess.run(**self.command(*words, role=role), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout.decode() if code == 0 else done.stderr.decode()

    def list(self, *words, role="provisioner"):
        return json.loads(self("list", "--json", *words, role=role))["keys"]


@pytest.fixture
def keys(cluster, tmp_path):
    conninfo, sql = cluster
    tmp_path.chmod(0o700)
    sql("delete from account; delete from user_secret; delete from sealing_key; delete from instance")
    return Keys(conninfo, sql, tmp_path)


def test_init_is_repeatable_and_private(keys):
    assert keys("init").startswith("key 1 made")
    assert keys("init") == "key 1 is there\n"
    file = keys.dir / "1.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(file.read_text()) == 65
    assert [(k["id"], k["state"], k["here"], k["used"]) for k in keys.list()] == [("1", "active", True, 0)]
    assert file.read_text().strip() not in keys("list")
    assert keys.sql("select count(*) from sealing_key where encode(public_key, 'hex') = '%s'" % file.read_text().strip()) == "0"
    assert list(keys.dir.iterdir()) == [file]


def test_a_second_machine_is_told_what_it_lacks(keys):
    keys("init")
    (keys.dir / "1.key").unlink()
    assert "bring it" in keys("init", code=5)
    assert keys.list()[0]["here"] is False


def test_each_purpose_has_its_own_role(keys):
    keys("init")
    assert keys("init", "--purpose=secrets", role="secrets").startswith("key 2 made")
    assert [k["id"] for k in keys.list()] == ["1"]
    assert [k["id"] for k in keys.list("--purpose=secrets", role="secrets")] == ["2"]
    keys("rotate", code=8, role="secrets")
    keys("rotate", "--purpose=secrets", code=8)
    assert keys.sql("select string_agg(purpose || state, ',' order by id) from sealing_key") == "credentialsactive,secretsactive"
    assert "3 are retired" in keys("rotate", "--purpose=secrets", role="secrets")


def test_usage(keys):
    keys("init", "--purpose=nothing", code=2)
    keys("rotate", "--wait", "soon", code=2)
    assert "keys init" in keys("rotate", code=3)
    done = subprocess.run([str(BIN / "gpupool"), "keys", "list"], env={"PATH": "/usr/bin:/bin", **sanitizers()}, stderr=subprocess.PIPE)
    assert done.returncode == 2 and b"GPUPOOL_DATABASE" in done.stderr


def test_a_directory_that_others_may_write_is_refused(keys):
    keys.dir.chmod(0o777)
    assert "others may write" in keys("init", code=8)
    assert keys.sql("select count(*) from sealing_key") == "0"
    keys.dir.chmod(0o700)
    keys("init")
    (keys.dir / "1.key").chmod(0o644)
    assert "0600" in keys("list", code=8)


def test_rotate_waits_for_a_program_and_goes_on_later(keys):
    keys("init")
    keys.sql("insert into instance(name, purpose, keys) values ('host:1:a', 'credentials', '{1}')")
    assert "host:1:a" in keys("rotate", "--wait=0", code=7)
    assert [k["state"] for k in keys.list()] == ["active", "new"]
    rotation = subprocess.Popen(**keys.command("rotate"), stdout=subprocess.PIPE)
    assert rotation.stdout.readline() == b"key 2 made: %s/2.key\n" % str(keys.dir).encode()
    assert b"waiting until host:1:a has" in rotation.stdout.readline()
    keys.sql("update instance set keys = '{1,2}', seen_at = now()")
    rest = rotation.communicate(timeout=30)[0].decode()
    assert rotation.returncode == 0 and "key 2 is used from now on" in rest
    assert [k["state"] for k in keys.list()] == ["retired", "active"]


def test_two_rotations_at_once_make_one_key(keys):
    keys("init")
    ends = []
    run = lambda: ends.append(subprocess.run(**keys.command("rotate"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode)
    threads = [threading.Thread(target=run) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(ends) <= {0, 6} and 0 in ends
    assert [k["state"] for k in keys.list()].count("active") == 1
    assert not [k for k in keys.list() if k["state"] == "new"]
    keys("rotate")


def test_doctor_says_when_a_key_is_missing(keys):
    def doctor(role):
        env = {"PATH": "/usr/bin:/bin", "GPUPOOL_DATABASE": keys.conninfo(role), **sanitizers()}
        done = subprocess.run([str(BIN / "gpupool"), "--json", "--server", "http://127.0.0.1:9", "doctor", "--local"], env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return [line for line in done.stdout.decode().splitlines() if "sealing key" in line or "does not see" in line]
    assert any("keys init --purpose=credentials" in line for line in doctor("web"))
    keys("init")
    assert any("keys init --purpose=secrets" in line for line in doctor("web"))
    keys("init", "--purpose=secrets", role="secrets")
    assert any("there are sealing keys" in line for line in doctor("web"))
    assert any("does not see them" in line for line in doctor("events"))
