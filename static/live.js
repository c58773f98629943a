// Keeps a page up to date without reloading it, and follows a job's log. The page works without this file.
//
// data-live="TOPIC …"        an element with an id that is replaced when an event of one of these topics comes
// data-live-items="SELECTOR"  only its items (with ids) are replaced, added and removed, so that rows never move
// data-live-key="KEY"        replaced only when the key changes: what is in it lives by itself
// data-follow="URL"          a log that grows: data-offset bytes of it are on the page
// data-copy="ID"             copies the text of that element
// data-poll                  while such an element is there, the page looks again every few seconds
// data-address="NAME"        shows what the text of the field NAME becomes as a name at the provider
// data-busy="TEXT"           what a button says once its form is on its way
(() => {
  "use strict";
  const QUIET_MS = 300, LEAST_MS = 2000, POLL_MS = 5000, RETRY_MS = 2000, LOG_LINES = 5000;

  // ---- times in the reader's zone ----
  const DAY = 86400e3;
  const timeText = (at) => {
    const locale = document.documentElement.lang, now = new Date();
    const clock = at.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", hour12: false });
    if (at.toDateString() === now.toDateString()) return clock;
    if (Math.abs(at - now) < 6 * DAY) return at.toLocaleDateString(locale, { weekday: "short" }) + " " + clock;
    const date = { day: "numeric", month: "short" };
    if (at.getFullYear() !== now.getFullYear()) date.year = "numeric";
    return at.toLocaleDateString(locale === "en" ? "en-GB" : locale, date) + " " + clock;
  };
  const localise = (root) => {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      time.title = time.textContent;
      time.textContent = timeText(at);
    }
  };

  // ---- replacing what changed ----
  // The server's markup of an element: before times were rewritten, and without CSRF tokens, which differ each time.
  const plain = (element) => element.outerHTML.replace(/name="csrf" value="[^"]*"/g, "");
  const shown = new WeakMap();
  const markup = (element) => shown.get(element) ?? plain(element);
  const remember = (root) => {
    for (const region of root.querySelectorAll("[data-live]")) {
      shown.set(region, plain(region));
      if (region.dataset.liveItems)
        for (const item of region.querySelectorAll(region.dataset.liveItems)) shown.set(item, plain(item));
    }
  };
  const inUse = (element) =>
    element.contains(document.activeElement) || element.matches(":hover") ||
    element.querySelector("details.menu[open], dialog:popover-open, input:checked") !== null;

  const put = (old, fresh) => {
    const text = markup(fresh);
    if (old.dataset.liveKey !== undefined && old.dataset.liveKey === fresh.dataset.liveKey) return;
    if (markup(old) === text || inUse(old)) return;
    const next = document.importNode(fresh, true);
    const scroll = old.scrollTop;
    shown.set(next, text);
    old.replaceWith(next);
    next.scrollTop = scroll;
    localise(next);
    enliven(next);
  };
  const putItems = (old, fresh) => {
    const selector = fresh.dataset.liveItems;
    const items = new Map([...fresh.querySelectorAll(selector)].map((item) => [item.id, item]));
    for (const item of old.querySelectorAll(selector)) {
      const next = items.get(item.id);
      items.delete(item.id);
      if (next) put(item, next);
      else if (!inUse(item)) item.remove();
    }
    for (const item of items.values()) {
      const next = document.importNode(item, true);
      shown.set(next, markup(item));
      old.append(next);
      localise(next);
      enliven(next);
    }
  };

  // A page that is being left is not read again: it may be of something that the form just deleted.
  const LEAVE_MS = 5000;
  let fetching = null, again = false, last = 0, timer = 0, left = -LEAVE_MS;
  const leave = () => {
    left = Date.now();
    if (fetching) fetching.abort();
  };
  const refresh = async () => {
    if (fetching) return void (again = true);
    if (Date.now() - left < LEAVE_MS) return soon();
    fetching = new AbortController();
    last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", signal: fetching.signal });
      if (answer.redirected && new URL(answer.url).pathname === "/admin/sign-in") return location.reload();
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      remember(page);
      for (const old of document.querySelectorAll("[data-live]")) {
        const fresh = page.getElementById(old.id);
        if (!fresh) continue;
        if (old.dataset.liveItems) putItems(old, fresh);
        else put(old, fresh);
      }
    } catch { /* the next event or poll tries again */ } finally {
      fetching = null;
      if (again) { again = false; soon(); }
    }
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, Math.max(QUIET_MS, last + LEAST_MS - Date.now()));
  };

  // Nobody tells of what is only being looked at.
  const poll = () => {
    setInterval(() => { if (!document.hidden && document.querySelector("[data-poll]")) soon(); }, POLL_MS);
  };

  // As domain/remote_name.c makes it; what is shown here decides nothing.
  const address = () => {
    for (const output of document.querySelectorAll("[data-address]")) {
      const field = document.querySelector(`input[name="${output.dataset.address}"]`);
      const show = () => {
        const slug = field.value.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
        output.hidden = !slug;
        output.value = slug ? "gpupool-" + slug.slice(0, 41).replace(/-$/, "") : "";
      };
      field.addEventListener("input", show);
      show();
    }
  };

  // ---- events, and polling while there are none ----
  const say = (on) => {
    const sign = document.getElementById("live");
    if (!sign) return;
    sign.hidden = false;
    sign.classList.toggle("off", !on);
    sign.textContent = on ? sign.dataset.on : sign.dataset.off;
  };
  const watch = () => {
    const topics = new Set();
    for (const region of document.querySelectorAll("[data-live]"))
      for (const topic of region.dataset.live.split(" ")) topics.add(topic);
    if (!topics.size || !document.getElementById("live")) return;
    let open = false, source;
    const heard = (event) => {
      let topic = event.type;
      if (topic === "message") try { topic = JSON.parse(event.data).topic; } catch { return; }
      if (topics.has(topic)) soon();
    };
    const connect = () => {
      source = new EventSource("/api/gpu/events");
      source.onopen = () => { if (!open) soon(); say(open = true); };
      source.onmessage = heard;
      for (const topic of topics) source.addEventListener(topic, heard);
      source.onerror = () => {
        say(open = false);
        if (source.readyState === EventSource.CLOSED) setTimeout(connect, POLL_MS);
      };
    };
    say(false);
    connect();
    setInterval(() => { if (!open && !document.hidden) refresh(); }, POLL_MS);
    addEventListener("pagehide", () => source.close());
  };

  // ---- a log that grows ----
  const follow = (root) => {
    const log = root.querySelector("[data-follow]");
    if (!log || !log.dataset.follow) return;
    const button = document.getElementById("follow"), bytes = new TextEncoder();
    let next = Number(log.dataset.offset), joins = log.dataset.partial === "true", sticks = true, source;

    const bottom = () => { log.scrollTop = log.scrollHeight; };
    const stick = (on) => { sticks = on; button?.setAttribute("aria-pressed", on); };
    const add = (text) => {
      const lines = text.split("\n"), rest = lines.pop();
      if (rest) lines.push(rest);
      for (const line of lines) {
        if (joins && log.lastElementChild) log.lastElementChild.textContent += line;
        else log.append(Object.assign(document.createElement("span"), { textContent: line }));
        joins = false;
      }
      joins = rest !== "";
      while (log.childElementCount > LOG_LINES) log.firstElementChild.remove();
      document.getElementById("log-empty")?.remove();
      if (sticks) bottom();
    };
    const heard = (event) => {
      if (!log.isConnected) return source.close();
      let piece;
      try { piece = JSON.parse(event.data); } catch { return; }
      if (typeof piece.text !== "string" || piece.offset < next) return;
      next = piece.next ?? piece.offset + bytes.encode(piece.text).length;
      add(piece.text);
    };
    const connect = () => {
      if (!log.isConnected) return; // another attempt's log took its place
      const url = new URL(log.dataset.follow, location.href);
      url.searchParams.set("offset", next);
      source = new EventSource(url);
      source.onmessage = heard;
      source.addEventListener("log", heard);
      source.addEventListener("end", () => source.close());
      // Not the browser's own retry: it would ask for the old offset.
      source.onerror = () => { source.close(); setTimeout(connect, RETRY_MS); };
    };
    if (button) {
      button.hidden = false;
      button.onclick = () => { stick(!sticks); if (sticks) bottom(); };
    }
    log.addEventListener("scroll", () => {
      stick(log.scrollHeight - log.scrollTop - log.clientHeight < 24);
    }, { passive: true });
    bottom();
    connect();
    addEventListener("pagehide", () => source.close());
  };

  // ---- forms and copying ----
  const enliven = (root) => {
    for (const button of root.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      button.onclick = async () => {
        try { await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent); } catch {
          getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
          return;
        }
        const label = button.textContent;
        button.textContent = button.dataset.done;
        setTimeout(() => { button.textContent = label; }, 2000);
      };
    }
    follow(root);
  };
  addEventListener("submit", (event) => {
    if (!event.defaultPrevented) leave();
    const button = event.submitter;
    if (!button || !button.dataset.busy) return;
    if (event.target.dataset.sent) return event.preventDefault(); // a second click
    event.target.dataset.sent = "1";
    button.setAttribute("aria-busy", "true");
    button.textContent = button.dataset.busy;
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  });
  addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]"))
      if (!menu.contains(event.target)) menu.open = false;
  });

  remember(document);
  localise(document);
  enliven(document);
  watch();
  poll();
  address();
})();
