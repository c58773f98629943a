"""Jobs with requirements: a wheel is built here and installed without any index; and the real training."""
import os
import shutil
import subprocess

import pytest

from conftest import HERE, PYTHON

EXAMPLE = os.path.join(HERE, "..", "..", "src", "examples", "digits.py")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A directory with one wheel of a package `greeting`, made with what Debian has."""
    path = tmp_path_factory.mktemp("wheels")
    source = path / "source"
    (source / "greeting").mkdir(parents=True)
    (source / "greeting" / "__init__.py").write_text("def main():\n    print('hello from a wheel')\n")
    (source / "setup.py").write_text("from setuptools import setup\nsetup(name='greeting', version='1.2', packages=['greeting'],"
                                     " entry_points={'console_scripts': ['greet=greeting:main']})\n")
    subprocess.run([PYTHON, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-build-isolation", "--no-deps",
                    "--wheel-dir", str(path / "found"), str(source)], check=True, stdout=subprocess.DEVNULL)
    public = "/tmp/gpupool-wheels-%d" % os.getpid()     # pytest's own directories are closed to jobs' uids
    shutil.move(str(path / "found"), public)            # perhaps on another file system
    yield public
    for name in os.listdir(public):
        os.unlink(os.path.join(public, name))
    os.rmdir(public)


def test_requirements_are_installed_once_and_kept(pool, start, wheels, uid):
    agent = start(uid=uid, GPUPOOL_PIP_ARGS="--no-index --find-links " + wheels, GPUPOOL_SLOTS="2")
    use = {"code": "import greeting, shutil, subprocess, sys\ngreeting.main()\nprint(sys.executable)\n"
                   "subprocess.run(['greet'], check=True)\nprint(shutil.which('greet'))", "requirements": ["greeting>=1"]}
    jobs = [pool.submit(dict(use)), pool.submit(dict(use))]     # at once: one installs, the other waits for it
    for job in jobs:
        assert pool.finish(job, 40)["state"] == "succeeded", job.text
        assert job.text.count("hello from a wheel") == 2
    assert sorted("Successfully installed" in job.text for job in jobs) == [False, True]
    again = pool.submit(dict(use))
    assert pool.finish(again)["state"] == "succeeded" and "[gpupool]" not in again.text
    venvs = os.path.join(agent.work, "venvs")
    assert len([name for name in os.listdir(venvs) if os.path.islink(os.path.join(venvs, name))]) == 1
    assert len(os.listdir(venvs)) == 2


def test_kept_environment_belongs_to_no_job(pool, start, wheels):
    if os.geteuid() != 0:
        pytest.skip("only root gives uids away")
    agent = start(GPUPOOL_PIP_ARGS="--no-index --find-links " + wheels)
    job = pool.submit({"code": "import greeting\nopen(greeting.__file__, 'a')", "requirements": ["greeting"]})
    assert pool.finish(job, 40)["error"]["type"] == "PermissionError"
    for folder, folders, files in os.walk(os.path.join(agent.work, "venvs")):
        for name in folders + files:
            info = os.lstat(os.path.join(folder, name))
            assert info.st_uid == 0 and (os.path.islink(os.path.join(folder, name)) or not info.st_mode & 0o022)


def test_requirement_that_cannot_be_had_fails_the_job_and_leaves_nothing(pool, start, wheels):
    agent = start(GPUPOOL_PIP_ARGS="--no-index --find-links " + wheels)
    job = pool.submit({"code": "print('must not run')", "requirements": ["greeting==9"]})
    item = pool.finish(job, 40)
    assert item["state"] == "failed" and item["error"]["type"] == "requirements"
    assert "greeting==9" in job.text and "must not run" not in job.text
    assert not os.listdir(os.path.join(agent.work, "venvs"))


def test_digits_are_learnt_and_the_model_predicts_again(pool, start, shared):
    pytest.importorskip("sklearn")
    with open(EXAMPLE, encoding="utf-8") as file:
        code = file.read()
    start(GPUPOOL_SLOTS="2")
    jobs = [pool.submit({"code": code, "args": ["--epochs", "3", "--seed", str(seed)], "env": {"OMP_NUM_THREADS": "1"}})
            for seed in (1, 2)]
    results = [pool.finish(job, 40)["result"] for job in jobs]
    for seed, (job, result) in enumerate(zip(jobs, results), 1):
        assert set(result) == {"accuracy", "epochs", "seed", "samples", "model", "seconds"}
        assert 0.8 < result["accuracy"] < 1 and result["epochs"] == 3 and result["seed"] == seed
        assert job.text.count("epoch ") >= 3 and "model.npz" in job.artifacts
    assert results[0]["accuracy"] != results[1]["accuracy"]
    path = os.path.join(shared, "model.npz")
    with open(path, "wb") as file:
        file.write(jobs[0].kept["model.npz"])
    said = subprocess.run([PYTHON, EXAMPLE, "--predict", path], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert said == "accuracy %.4f\n" % results[0]["accuracy"]
