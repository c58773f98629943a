"""The dashboard as people use it: in Chromium with everything live, and by plain forms without JavaScript.

With GPUPOOL_SCREENSHOTS=DIRECTORY each page is also stored there, narrow and wide, light and dark.
"""
import http.client
import os
import re
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from stack import until

ROOT = Path(__file__).resolve().parents[2]
GROWS = """import os, sys, time
for i in range(3000):
    print("line", i, flush=True)
    with open(os.environ["GPUPOOL_PROGRESS"], "a") as f:
        f.write(f"{min(i / 600, 1)} step {i} <b>\\n")
    time.sleep(0.1)
"""
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1280,900")


# ---- a browser with JavaScript ----

class Screen:
    """One Chromium; `text`, `find` and so on wait, and look again when the page changed under them."""

    def __init__(self, port, profile):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(executable_path="/usr/bin/chromedriver"), options=options)
        self.base = f"http://127.0.0.1:{port}"

    def go(self, path):
        self.driver.get(self.base + path)

    @property
    def path(self):
        return urllib.parse.urlsplit(self.driver.current_url).path

    def find(self, css, seconds=15):
        def look():
            try:
                element = self.driver.find_element(By.CSS_SELECTOR, css)
                return element if element.is_displayed() else None
            except (NoSuchElementException, StaleElementReferenceException):
                return None
        look.__name__ = css
        return until(look, seconds)

    def text(self, css):
        try:
            return self.driver.find_element(By.CSS_SELECTOR, css).text
        except (NoSuchElementException, StaleElementReferenceException):
            return ""

    def click(self, css):
        self.find(css).click()

    def fill(self, name, value):
        field = self.find(f"main [name={name}]")
        field.clear()
        field.send_keys(value)

    def sees(self, css, words, seconds=20):
        def look():
            return words in self.text(css)
        look.__name__ = f"{words!r} in {css}"
        return until(look, seconds)

    def state(self, css, state, seconds=30):
        return self.find(f"{css} .state.s-{state}", seconds)

    def mark(self):
        """The page at hand; `kept` tells whether it was loaded anew since."""
        self.driver.execute_script("window.kept = true")

    @property
    def kept(self):
        return self.driver.execute_script("return window.kept === true")

    def sign_in(self, name, password):
        self.go("/admin/sign-in")
        self.fill("name", name)
        self.fill("password", password)
        self.click("main form button")
        until(lambda: self.path == "/admin/gpu-dashboard")

    def complaints(self):
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]


@pytest.fixture
def screen(stack, tmp_path):
    s = Screen(stack.port, tmp_path / "profile")
    yield s
    s.driver.quit()


@pytest.fixture
def signed_in(stack, screen):
    screen.sign_in("admin", stack.admin.token)
    return screen


# Roughly what an accessibility checker asks first; contrast is the style sheet's.
ACCESSIBLE = """
const bad = [];
const name = (e) => (e.getAttribute("aria-label") || e.textContent || "").trim();
if (!document.documentElement.lang) bad.push("no language");
if (document.querySelectorAll("h1").length !== 1) bad.push("not one h1");
for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
  if (!e.labels?.length && !e.getAttribute("aria-label")) bad.push("no label: " + e.outerHTML);
for (const e of document.querySelectorAll("button, a[href], summary")) if (!name(e)) bad.push("no name: " + e.outerHTML);
for (const e of document.querySelectorAll("[aria-labelledby], [aria-describedby], [aria-controls]"))
  for (const a of ["aria-labelledby", "aria-describedby", "aria-controls"])
    for (const id of (e.getAttribute(a) || "").split(" ").filter(Boolean))
      if (!document.getElementById(id)) bad.push(a + " to nothing: " + id);
for (const e of document.querySelectorAll("[role=img]")) if (!name(e)) bad.push("drawing without words: " + e.outerHTML);
let level = 0;
for (const e of document.querySelectorAll("h1, h2, h3, h4")) {
  const n = Number(e.tagName[1]);
  if (n > level + 1 && level) bad.push("heading skips a level: " + e.textContent);
  level = n;
}
return bad;
"""


def check_page(screen, path):
    """Whether a page is accessible and fits a phone."""
    screen.go(path)
    assert screen.driver.execute_script(ACCESSIBLE) == [], path
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    screen.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wide = screen.driver.execute_script("return document.documentElement.scrollWidth")
    screen.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 390, f"{path} is {wide} pixels wide on a phone"


def shoot(screen, name, path):
    folder = os.environ.get("GPUPOOL_SCREENSHOTS")
    if not folder:
        return
    os.makedirs(folder, exist_ok=True)
    for theme in ("light", "dark"):
        screen.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
        for width in (1280, 390):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            screen.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            screen.go(path)
            until(lambda: not screen.driver.find_elements(By.CSS_SELECTOR, "#live.off"), 10)
            high = screen.driver.execute_script("return Math.min(document.documentElement.scrollHeight, 2400)")
            screen.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "height": max(high, 600)})
            screen.driver.save_screenshot(f"{folder}/{name}-{width}-{theme}.png")
    screen.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    screen.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def idle(stack):
    """Waits until no worker holds a job, also none that is being killed: it may have run on any of them."""
    def look():
        return all(n["jobs"]["running"] == 0 for n in stack.admin.get("/api/gpu/workers/notebooks")["notebooks"])
    until(look)


def add_worker(screen, title):
    screen.go("/admin/gpu-dashboard")
    screen.click("a[href='/admin/workers/new']")
    screen.click("[name=provider][value=local]")
    screen.fill("title", title)
    screen.driver.execute_script("document.querySelector('[name=accelerator]').value = 'cpu'")
    assert screen.find("[name=autoStart]").is_selected()
    screen.click("main form button.main")
    until(lambda: re.fullmatch(r"/admin/workers/\d+", screen.path))
    screen.mark()
    screen.state("#worker-head", "healthy")
    assert screen.kept, "it became healthy only by loading the page again"
    return screen.path


def test_main_path_with_everything_live(stack, signed_in):
    s = signed_in
    worker = add_worker(s, "bench <i>&")
    assert s.text("h1") == "bench <i>&"

    # a job whose log grows on its page
    s.go("/admin/jobs/new")
    s.fill("name", "grows <b>")
    s.fill("tags", "night, e2e")
    s.driver.execute_script("document.querySelector('[name=code]').value = arguments[0]", GROWS)
    s.click("main form button.main")
    until(lambda: re.fullmatch(r"/admin/jobs/\d+", s.path))
    job = s.path
    s.mark()
    s.state("#job-head", "running")
    s.sees("#log", "line 3")
    s.sees("#job-progress", "<b>")
    seen = len(s.text("#log").splitlines())
    until(lambda: len(s.text("#log").splitlines()) > seen + 5)
    assert s.text("#log").splitlines()[:3] == ["line 0", "line 1", "line 2"]
    assert s.kept

    # the pool shows it as it goes
    s.go("/admin/gpu-dashboard")
    s.mark()
    s.sees("#workers", "grows <b>")
    s.sees("#workers", "step ")
    s.sees("#live", "Live")

    # search
    s.go("/admin/jobs")
    s.fill("q", "grows")
    s.click("form.filter button")
    until(lambda: "q=grows" in s.driver.current_url)
    assert len(s.driver.find_elements(By.CSS_SELECTOR, "#jobs tr[id^=job-]")) == 1
    s.fill("q", "nothing like this")
    s.click("form.filter button")
    s.sees("#jobs", "No job is here.")

    # cancel, with its question; again; cancel from the list
    s.go(job)
    s.click("[popovertarget=cancel]")
    s.click("#cancel button.danger")
    s.state("#job-head", "cancelled")
    s.sees("#toast", "was cancelled")
    idle(stack)
    s.click("#job-head form[action$=retry] button")
    s.sees("#toast", "was queued again")
    s.state("#job-head", "running")
    s.sees("#log", "line 2")
    s.go("/admin/jobs?state=running&q=grows")
    s.click("#jobs input[name=id]")
    s.click("button[name=which][value=selected]")
    s.sees("#toast", "1 job was cancelled.")

    # stop and delete, followed without loading the page again
    s.go(worker)
    s.click("#worker-head form[action$=stop] button")
    s.sees("#toast", "is stopping")
    s.mark()
    s.state("#worker-head", "stopped")
    assert s.kept
    s.click("#worker-head a.danger")
    s.click("main form button.danger")
    until(lambda: s.path == "/admin/gpu-dashboard")
    s.mark()
    until(lambda: "bench" not in s.text("#workers"), 20)
    assert s.kept
    assert s.complaints() == []


def test_every_page_is_accessible_and_fits(stack, signed_in, worker):
    admin = stack.admin
    done = admin.submit("import json, os\nprint('hello ' * 40)\njson.dump({'accuracy': 0.97}, open(os.environ['GPUPOOL_RESULT'], 'w'))\n"
                        "open(os.environ['GPUPOOL_OUT'] + '/model.bin', 'w').write('x' * 5000)\n", name="digits", tags=["vision"])
    failed = admin.submit("def train():\n    raise ValueError('the learning rate is 0')\ntrain()\n", name="sweep-3", type="training")
    admin.ends(done)
    admin.ends(failed)
    waits = admin.submit("1", name="large", gpus=8)
    running = admin.submit(GROWS, name="resnet-50 on imagenette", type="training", tags=["vision", "night"])
    admin.runs(running)
    manual = admin.worker(provider="manual", title="lab machine", accelerator="gpu")
    until(lambda: admin.notebook(manual)["state"] == "needs_human")
    stopped = admin.worker(title="spare", autoStart=False)
    pages = {
        "pool": "/admin/gpu-dashboard", "worker-new": "/admin/workers/new", "worker": f"/admin/workers/{worker}",
        "worker-manual": f"/admin/workers/{manual}", "worker-delete": f"/admin/workers/{stopped}/delete", "jobs": "/admin/jobs",
        "job-new": f"/admin/jobs/new?from={done}", "job": f"/admin/jobs/{running}", "job-done": f"/admin/jobs/{done}",
        "job-failed": f"/admin/jobs/{failed}", "job-queued": f"/admin/jobs/{waits}", "users": "/admin/users",
        "tokens": "/admin/tokens", "profile": "/admin/profile", "scaling": "/admin/scaling", "policies": "/admin/policies",
        "policy": "/admin/policies/kaggle", "policy-limit": "/admin/policies/kaggle/limits/gpu",
    }
    for name, path in pages.items():
        check_page(signed_in, path)
        shoot(signed_in, name, path)
    assert signed_in.complaints() == []
    shoot(signed_in, "error", "/admin/nowhere")
    signed_in.driver.delete_all_cookies()
    check_page(signed_in, "/admin/sign-in")
    shoot(signed_in, "sign-in", "/admin/sign-in")
    for job in (waits, running):
        admin.post(f"/api/gpu/jobs/{job}/cancel")
    for id in (manual, stopped):
        admin.call("DELETE", f"/api/gpu/workers/notebooks/{id}")


# ---- a browser without JavaScript ----

class Forms(HTMLParser):
    """The forms of a page with what they would send, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.forms, self.form, self.select, self.area = [], None, None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if tag == "form":
            self.form = {"action": a.get("action", ""), "method": a.get("method", "get"), "fields": {}}
            self.forms.append(self.form)
        if not self.form:
            return
        fields, name = self.form["fields"], a.get("name")
        if tag == "input" and name and (a.get("type") not in ("checkbox", "radio") or "checked" in a):
            fields[name] = a.get("value", "")
        elif tag == "select":
            self.select = name
        elif tag == "option" and self.select and ("selected" in a or self.select not in fields):
            fields[self.select] = a.get("value", "")
        elif tag == "textarea":
            self.area = name
            fields[name] = ""

    def handle_data(self, data):
        if self.area:
            self.form["fields"][self.area] += data

    def handle_endtag(self, tag):
        if tag == "form":
            self.form = None
        elif tag == "select":
            self.select = None
        elif tag == "textarea":
            self.form["fields"][self.area] = self.form["fields"][self.area].removeprefix("\n")
            self.area = None


class Plain:
    """Follows links and redirects and sends forms; runs nothing."""

    def __init__(self, port):
        self.port, self.cookie, self.path, self.text, self.status = port, None, None, "", 0

    def ask(self, method, path, body=None):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Accept": "text/html"}
        if self.cookie:
            headers["Cookie"] = self.cookie
        if body is not None:
            headers.update({"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://127.0.0.1:{self.port}"})
        conn.request(method, path, body, headers)
        answer = conn.getresponse()
        self.text, self.status = answer.read().decode(), answer.status
        if answer.headers["Set-Cookie"]:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        location = answer.headers["Location"]
        conn.close()
        self.path = path
        return self.ask("GET", location) if answer.status == 303 else self

    def get(self, path):
        return self.ask("GET", path)

    def send(self, action, **values):
        """The form of the page at hand with this action, filled in."""
        form = next(f for f in Forms(self.text).forms if f["action"] == action)
        fields = {k: v for k, v in {**form["fields"], **values}.items() if v is not None}
        body = urllib.parse.urlencode(fields)
        if form["method"] == "get":
            return self.get(f"{action}?{body}")
        return self.ask("POST", action, body)

    def state(self, path, state, seconds=30):
        def look():
            return re.search(r'id="\w+-head".*?class="state s-(\w+)"', self.get(path).text, re.S).group(1) == state
        look.__name__ = f"{path} {state}"
        until(look, seconds)

    def until(self, path, words, seconds=30):
        def look():
            return words in self.get(path).text
        look.__name__ = f"{words!r} on {path}"
        until(look, seconds)


def test_main_path_without_javascript(stack):
    p = Plain(stack.port)
    p.get("/")
    assert p.path.startswith("/admin/sign-in") and p.status == 200
    p.send("/admin/sign-in", name="admin", password="not this one")
    assert p.status == 401 and "Name or password is wrong" in p.text
    p.send("/admin/sign-in", name="admin", password=stack.admin.token)
    assert p.path == "/admin/gpu-dashboard" and p.status == 200

    p.get("/admin/workers/new").send("/admin/workers/new", title="plain", accelerator="cpu", maxSession="soon")
    assert p.status == 400 and 'value="plain"' in p.text and "Is not a duration" in p.text
    p.send("/admin/workers/new", maxSession="2h")
    worker = p.path.split("?")[0]
    assert re.fullmatch(r"/admin/workers/\d+", worker) and "plain is being created." in p.text
    p.state(worker, "healthy")

    p.get("/admin/jobs/new").send("/admin/jobs/new", name="by form", code=GROWS)
    job = p.path.split("?")[0]
    assert re.fullmatch(r"/admin/jobs/\d+", job)
    p.state(job, "running")
    raw = re.search(r'<noscript>.*?href="([^"]+)"', p.text).group(1)
    p.until(raw, "line 5\n")
    p.get(job).send(f"{job}/cancel")
    assert "was cancelled." in p.text
    idle(stack)
    p.send(f"{job}/retry")
    assert "was queued again." in p.text
    p.get("/admin/jobs").send("/admin/jobs", q="by form")
    assert p.text.count('<tr id="job-') == 1
    p.send("/admin/jobs/cancel", which="all")
    assert "1 job was cancelled." in p.text

    p.get(worker).send(f"{worker}/edit", title="renamed")
    assert "renamed was saved." in p.text
    p.send(f"{worker}/stop")
    p.state(worker, "stopped")
    p.send(f"{worker}/start")
    p.state(worker, "healthy")
    p.get(f"{worker}/delete").send(f"{worker}/delete")
    assert p.path.startswith("/admin/gpu-dashboard")
    until(lambda: p.get(worker).status == 404, 30)
    p.get("/admin/gpu-dashboard").send("/admin/sign-out")
    assert p.path == "/admin/sign-in"
    assert p.get("/admin/jobs").path.startswith("/admin/sign-in")


def test_pages_forbid_what_is_inline(stack):
    reply = stack.admin.call("GET", "/admin/sign-in", headers={"Authorization": ""})
    policy = reply.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
