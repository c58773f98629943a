"""Kaggle in a browser: an account and a notebook by form, watched without reloading, its hours and what it left; and a
wrong key, seen and mended."""
import json

import pytest
from selenium.webdriver.common.by import By

from stack import until
from test_dashboard import Screen, check_page


@pytest.fixture
def screen(kaggle_stack, tmp_path):
    s = Screen(kaggle_stack.port, tmp_path / "profile")
    yield s
    s.driver.quit()


def signed_in(screen, person):
    screen.sign_in(person.name, "a long password " + person.name)


def key_file(tmp_path, person):
    path = tmp_path / "kaggle.json"
    path.write_text(json.dumps(person.credentials))
    return str(path)


def test_a_notebook_by_form(screen, person, tmp_path):
    p = person()
    signed_in(screen, p)
    screen.go("/admin/workers/new")
    assert not screen.driver.find_element(By.NAME, "kaggle.file").is_displayed()
    screen.click("input[value=kaggle]")
    until(lambda: screen.driver.find_element(By.NAME, "kaggle.file").is_displayed())
    assert not screen.driver.find_element(By.NAME, "accelerator").is_displayed()
    retired = screen.driver.find_element(By.CSS_SELECTOR, "option[value=NvidiaTeslaP100]")
    assert not retired.is_enabled() and "retired" in retired.get_attribute("textContent")
    screen.fill("title", "Träin  A3!")
    assert screen.text("output") == "gpupool-train-a3"
    screen.driver.find_element(By.NAME, "kaggle.file").send_keys(key_file(tmp_path, p))
    screen.click("main form .btn.main")
    until(lambda: screen.path.split("/")[-1].isdigit())
    id = screen.path.split("/")[-1]
    screen.mark()
    screen.state("#worker-head", "healthy", 60)
    assert screen.kept, "the page came to it without being loaded anew"
    assert screen.driver.find_element(By.CSS_SELECTOR, "#worker-head a[target=_blank]").get_attribute("href").endswith("/gpupool-train-a3")
    screen.sees("#worker-facts", "2 × Tesla T4")
    check_page(screen, f"/admin/workers/{id}")
    assert p.key not in screen.driver.page_source

    screen.go("/admin/gpu-dashboard")
    screen.sees("#pool-summary", "GPU-hours left this week")
    account = p.account_row()["id"]
    for path in ("/admin/accounts", f"/admin/accounts/{account}", "/admin/workers/new?provider=kaggle", "/admin/secrets", "/admin/gpu-dashboard",
                 f"/admin/accounts/{account}/delete"):
        check_page(screen, path)
        assert p.key not in screen.driver.page_source

    p.stop(id)
    p.becomes(id, "stopped")
    screen.go(f"/admin/workers/{id}")
    screen.sees("#worker-sessions", "results/out.json")
    link = screen.find("#worker-sessions a[href$='/log']")
    screen.go(link.get_attribute("href").replace(screen.base, ""))
    screen.sees("body", "registered as worker")
    assert screen.complaints() == []


def test_a_wrong_key_is_seen_and_mended(screen, person, tmp_path):
    p = person()
    signed_in(screen, p)
    screen.go("/admin/accounts")
    screen.fill("username", p.name)
    screen.fill("key", "0" * 32)
    screen.mark()
    screen.click("main form .btn.main")
    screen.sees("#accounts", p.name.split("x")[0], 5)
    screen.state("#accounts", "needs_human", 30)
    screen.sees("#accounts", "replace the credentials, then check again")
    id = p.add("cpu", "waits", accountId=p.account_row()["id"])
    p.becomes(id, "needs_human", code="credentials")
    screen.go(f"/admin/workers/{id}")
    screen.click("#worker-head a[href^='/admin/accounts/']")
    screen.find("input[name=file]").send_keys(key_file(tmp_path, p))
    screen.click("#key .btn")
    screen.state("#account-head", "healthy", 30)
    screen.sees("#account-head", p.name)
    p.healthy(id)
