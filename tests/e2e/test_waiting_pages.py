"""Why jobs wait, what a worker is about to do, and when hours run dry: in a browser, with real workers."""
import pytest

from stack import until
from test_dashboard import Screen, check_page


@pytest.fixture
def screen(kaggle_stack, tmp_path):
    s = Screen(kaggle_stack.port, tmp_path / "profile")
    yield s
    s.driver.quit()


def test_why_it_waits_and_when_hours_run_dry(kaggle_stack, screen, person):
    p = person()
    screen.sign_in(p.name, "a long password " + p.name)
    made = p.client.post("/api/gpu/workers/notebooks", {"provider": "kaggle", "accelerator": "T4", "title": "dry", "credentials": p.credentials})
    assert made["idleStopSeconds"] == 1800, "its hours are limited, and nobody chose"
    p.becomes(made["id"], "healthy")

    # What no worker of hers has, in sentences, on the job's page, in the list, and counted on the pool's.
    a100 = p.client.submit("pass", accelerator="A100", name="needs-a100")
    screen.go(f"/admin/jobs/{a100}")
    screen.sees("main", "No worker with A100 that it may use runs.")
    screen.sees("main", "turn scaling on")
    check_page(screen, f"/admin/jobs/{a100}")
    screen.go("/admin/jobs")
    screen.sees("main", "No worker with A100 that it may use runs.")
    check_page(screen, "/admin/jobs")
    wide = p.client.submit("pass", gpus=3, name="needs-three")
    screen.go(f"/admin/jobs/{wide}")
    screen.sees("main", "It asks for 3 GPUs at once, and its workers have 2 at most.")
    screen.go("/admin/gpu-dashboard")
    screen.sees("main", "It needs more than any worker has.")
    screen.sees("main", "It waits for a worker.")

    # Hours: on the account's, the accounts', the pool's and the worker's page.
    account = p.account_row()["id"]
    for path in (f"/admin/accounts/{account}", "/admin/accounts", "/admin/gpu-dashboard", f"/admin/workers/{made['id']}"):
        screen.go(path)
        screen.sees("main", "Used up ")
        check_page(screen, path)
    quota = p.client.get(f"/api/gpu/quota?account={account}")["accounts"][0]["resources"]
    forecast = next(r for r in quota if r["resource"] == "gpu")["forecast"]
    assert forecast and forecast["earliest"]

    p.stop(made["id"])
    p.becomes(made["id"], "stopped")
    screen.go(f"/admin/workers/{made['id']}")
    screen.sees("#worker-quota", "left of")
    for job in (a100, wide):
        p.client.post(f"/api/gpu/jobs/{job}/cancel")
    assert screen.complaints() == []
