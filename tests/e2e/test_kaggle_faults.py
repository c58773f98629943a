"""Kaggle at its worst: each switch of the stand-in, and our own processes killed at any moment.  One run or none, never two."""
import concurrent.futures
import os
import random
import signal
import time

import pytest

from kaggle_people import Person
from stack import until

LIST, TOKEN = "ListKernels", "IntrospectToken"
SAVE, STATUS, GET, QUOTA = "SaveKernel", "GetKernelSessionStatus", "GetKernel", "GetAcceleratorQuotaStatistics"
RETRY_AFTER = {"retry_after": 1}
# (method, kind, options): each for one person, whose start meets it.
CASES = [(SAVE, kind, {}) for kind in ("500", "503", "html", "empty", "truncated", "reset_before", "reset_after")]
CASES += [(method, kind, {}) for method in (STATUS, GET) for kind in ("500", "html", "empty", "truncated", "reset_after")]
CASES += [(method, "429", RETRY_AFTER) for method in (SAVE, STATUS, GET)] + [(SAVE, "drip", {"seconds": 0.001})]
CASES += [(SAVE, "429", {"retry_after": 1, "date": True}), (SAVE, "429", {}), (SAVE, "500", {"effect": True}),
          (SAVE, "string_ids", {}), (SAVE, "nullable", {}), (GET, "string_ids", {"times": 3}),
          (STATUS, "omit", {"times": 3, "fields": ["status"]}), (QUOTA, "html", {}), (QUOTA, "omit", {"fields": ["gpuQuota"]})]
CASES += [(LIST, kind, {}) for kind in ("500", "html", "truncated", "empty", "reset_after")] + [(LIST, "429", RETRY_AFTER), (LIST, "omit", {"fields": ["kernels"]})]
CASES += [(TOKEN, kind, {}) for kind in ("500", "html", "truncated", "empty", "reset_after", "string_ids")] + [(TOKEN, "429", RETRY_AFTER)]
CASES += [(STATUS, kind, {"times": 3}) for kind in ("lower_camel", "prefixed", "numeric", "unknown_status", "nullable")]


def named(case):
    method, kind, options = case
    return "-".join([method, kind, *options])


DEPARTURES = [("output/download", "500"), ("output/download", "redirect"), ("CancelKernelSession", "503"), ("CancelKernelSession", "reset_after"),
              ("ListKernelSessionOutput", "truncated"), ("DeleteKernel", "reset_after"), ("DeleteKernel", "html"), ("GetKernel", "500")]


@pytest.fixture(scope="module")
def departures(kaggle, kaggle_stack):
    """Runs that never left the queue, so that no agent ends them, and are all deleted at once."""
    people = {}
    for case in DEPARTURES:
        p = people["-".join(case)] = Person(kaggle_stack, kaggle, stuck=True)
        p.id = p.add("cpu", "hard to stop")
    for case in DEPARTURES:
        p = people["-".join(case)]
        until(lambda: p.runs())
        until(lambda: p.notebook(p.id)["url"])
        p.fault = kaggle.fault(*case, owner=p.name)
        p.delete(p.id)
    return people


@pytest.fixture(scope="module")
def crowd(kaggle, kaggle_stack, departures):
    """For each case a person who meets it, all at once."""
    people = {}

    def begin(case):
        method, kind, options = case
        p = people[named(case)] = Person(kaggle_stack, kaggle)
        p.fault = kaggle.fault(method, kind, owner=p.name, **options)
        if method == GET:
            kaggle.fault(SAVE, "reset_after", owner=p.name)     # only doubt makes it look
        credentials = p.credentials
        if method == TOKEN:
            p.account.tokens.append("KGAT_" + p.key)
            credentials = {"token": "KGAT_" + p.key}
        p.id = p.add("cpu", "under fire", credentials=credentials)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(begin, CASES))
    yield people
    for p in people.values():
        kaggle.clear(p.name)
        p.delete(p.id)
    for p in people.values():
        p.deleted(p.id, 120)
        p.nothing_left()
    kaggle.blameless()


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_fault_costs_a_delay_and_never_a_second_run(crowd, case):
    p = crowd[named(case)]
    p.healthy(p.id, 90)
    p.one_run()
    until(lambda: p.fault.met > 0, 30)


# ---- the moments after a push -------------------------------------------------------------

def test_a_push_whose_answer_was_lost_is_found_again(person, kaggle):
    """Kaggle shows the new kernel only after a while, and says until then what it says of none."""
    p = person()
    kaggle.world.lag = 3
    try:
        kaggle.fault(SAVE, "reset_after", owner=p.name)
        id = p.add("cpu", "lost answer")
        p.healthy(id, 60)
    finally:
        kaggle.world.lag = 0
    assert p.one_run().version.number == 1
    assert kaggle.count(SAVE, p.name) == 1


def test_missing_inputs_of_a_kernel_that_kaggle_does_not_show_yet(person, kaggle):
    """It runs without them, and can neither be looked at nor be deleted for a while: it is ended all the same."""
    p = person()
    kaggle.world.lag = 3
    try:
        id = p.add("cpu", "lost inputs", inputs={"datasets": ["alice/no-such-thing"]})
        n = p.becomes(id, "failed", 60, code="inputs")
    finally:
        kaggle.world.lag = 0
    assert "alice/no-such-thing" in n["reason"]["message"]
    p.nothing_left()
    assert kaggle.count(SAVE, p.name) == 1


def test_a_name_that_kaggle_says_is_contested(person, kaggle):
    """Nothing was saved: it is tried again, and no sooner than it should."""
    p = person()
    fault = kaggle.fault(SAVE, "409", times=1, owner=p.name)
    id = p.add("cpu", "fought over")
    p.becomes(id, "waiting", code="contested")
    assert not p.kernels()
    p.healthy(id, 60)
    assert fault.met == 1 and p.one_run().version.number == 1


def test_a_lost_answer_of_the_second_version(person, kaggle):
    """What GetKernel shows is then the first version, until it is the second."""
    p = person()
    id = p.add("cpu", "second lost")
    p.healthy(id)
    p.stop(id)
    p.becomes(id, "stopped")
    kaggle.fault(SAVE, "reset_after", owner=p.name)
    p.start(id)
    p.healthy(id, 60)
    assert [r.version.number for r in p.runs()] == [1, 2] and len(p.runs(live=True)) == 1


def test_nothing_hammers(person, kaggle):
    """429 on everything: one call, then silence until its time, for all of the account's work."""
    p = person()
    fault = kaggle.fault("*", "429", times=3, owner=p.name, retry_after=1)
    begun = time.monotonic()
    id = p.add("cpu", "patience")
    p.healthy(id, 60)
    assert fault.met == 3 and time.monotonic() - begun >= 3, "it came sooner than it was asked to"


def test_a_kernel_deleted_by_hand(person, kaggle):
    """The row's kernel is gone: the run is over, and the next start makes it anew."""
    p = person()
    id = p.add("cpu", "gone by hand")
    p.healthy(id)
    first = p.one_run()
    with kaggle.world.lock:
        kaggle.world.delete(first.kernel)
    until(lambda: [r for r in p.runs(live=True) if r is not first], 90)
    p.healthy(id, 60)
    assert len(p.runs(live=True)) == 1


# ---- our own processes killed ----------------------------------------------------------------

def test_kill_9_of_the_provisioner_at_any_moment(person, kaggle_stack):
    """Several at once, so that each kill meets them at different points."""
    moments = random.Random(3)
    people = [person() for _ in range(5)]

    def kills(times=3):
        for _ in range(times):
            at = time.monotonic() + moments.uniform(0.02, 0.7)
            until(lambda: time.monotonic() >= at, every=0.01)
            for pid in kaggle_stack.pids("gpupool-provisioner", "kaggle"):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            for p in people:
                assert len(p.runs(live=True)) <= 1
    for p in people:
        p.id = p.add("cpu", "through it all")
    kills()
    for p in people:
        p.healthy(p.id, 90)
        p.first = p.one_run()
    for p in people:
        p.stop(p.id)
    kills()
    for p in people:
        p.becomes(p.id, "stopped", 90)
        assert not p.first.live
        p.start(p.id)
    kills()
    for p in people:
        p.healthy(p.id, 90)
        assert len(p.runs(live=True)) == 1 and len(p.runs()) == 2
        p.delete(p.id)
    kills()
    for p in people:
        p.deleted(p.id, 90)
        p.nothing_left()


# ---- stopping under fire: what was begun at the start ----------------------------------------

@pytest.mark.parametrize("case", DEPARTURES, ids="-".join)
def test_a_fault_on_the_way_out_leaves_nothing(departures, case):
    p = departures["-".join(case)]
    p.deleted(p.id, 90)
    p.nothing_left()
    assert p.fault.met == 1
    assert p.runs()[0].state == "CANCEL_ACKNOWLEDGED"
