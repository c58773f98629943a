"""What a job can count on: its environment, its result, its files, its log."""
import ast
import json
import os
import re

import pytest

from conftest import PROGRAM

SAVE = "import json, os\ndef save(value):\n    json.dump(value, open(os.environ['GPUPOOL_RESULT'], 'w'))\n"


def test_agent_parses_as_python_3_8_and_is_small():
    with open(PROGRAM, encoding="utf-8") as file:
        source = file.read()
    ast.parse(source, feature_version=(3, 8))
    assert len(source) < 100000


def test_registration_describes_the_machine(pool, start):
    start(GPUPOOL_SLOTS="3", GPUPOOL_PROVIDER="local")
    said = pool.registration
    assert said["provider"] == "local" and said["protocol"] == 1
    assert said["capabilities"]["slots"] == 3
    assert said["capabilities"]["cpus"] >= 1 and said["capabilities"]["memoryBytes"] > 1 << 26
    assert re.fullmatch(r"\d+\.\d+\.\d+", said["capabilities"]["python"])


def test_job_runs_and_everything_arrives_in_order(pool, start):
    start()
    job = pool.submit(SAVE + "print('one')\nopen(os.environ['GPUPOOL_OUT'] + '/model.bin', 'wb').write(b'x' * 70000)\n"
                      "print('two')\nsave({'accuracy': 0.5, 'text': 'ação'})\n")
    assert pool.finish(job) == {"jobId": job.id, "lease": job.lease, "state": "succeeded",
                                "result": {"accuracy": 0.5, "text": "ação"}}
    assert job.text == "one\ntwo\n"
    assert job.artifacts["model.bin"][0] == 70000
    assert job.events[-1] == "result"
