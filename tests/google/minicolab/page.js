"use strict";
const told = JSON.parse(document.body.dataset.told);
const make = (tag, props = {}, ...children) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k in e && typeof v !== "string") e[k] = v; else e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
};
const post = (path, body) => fetch(path, {method: "POST", body: JSON.stringify(body || {})});
let shown = told.shown;

/* The surface lies in the shadow; the host has no box. */
customElements.define("mwc-dialog", class extends HTMLElement {
  connectedCallback() {
    const root = this.attachShadow({mode: "open"});
    const surface = make("div", {class: "mdc-dialog__surface"});
    surface.style.cssText = "position:fixed;top:120px;left:300px;width:500px;background:#fff;border:2px solid #333;padding:20px;z-index:9";
    surface.append(make("slot"), make("slot", {name: "secondaryAction"}), make("slot", {name: "primaryAction"}));
    root.append(surface);
    this.classList.add("colab-dialog-opening");
    setTimeout(() => this.classList.remove("colab-dialog-opening"), 200);
  }
});

customElements.define("colab-connect-button", class extends HTMLElement {
  connectedCallback() {
    this.attachShadow({mode: "open"}).append(make("colab-toolbar-button", {id: "connect"}));
    this.show();
  }
  show() {
    const b = this.shadowRoot.querySelector("#connect");
    const idle = shown.accelerator === "NONE" ? "Connect" : "Connect " + shown.accelerator;
    const texts = {disconnected: idle, connecting: "Connecting", connected: "", reconnect: "Reconnect"};
    b.textContent = texts[shown.state];
    if (shown.state === "connected")
      b.append(make("colab-usage-display", {}, make("canvas", {width: 40, height: 12, title: "RAM"}), make("canvas", {width: 40, height: 12, title: "Disk"})));
  }
});

customElements.define("colab-runtime-attributes-selector", class extends HTMLElement {
  connectedCallback() {
    const root = this.attachShadow({mode: "open"});
    for (const [value, label] of [["NONE", "CPU"], ["GPU,T4", "T4 GPU"], ["GPU,L4", "L4 GPU"], ["GPU,A100", "A100 GPU"], ["TPU,V5E1", "v5e-1 TPU"]]) {
      const radio = make("mwc-radio", {name: "accelerator", value});
      const short = value.split(",").pop();
      radio.style.cssText = "display:inline-block;width:20px;height:20px;border:1px solid";
      if (!shown.entitled.includes(short)) radio.setAttribute("disabled", "");
      if (short === shown.accelerator) radio.setAttribute("checked", "");
      radio.addEventListener("click", e => {
        if (!e.isTrusted || radio.hasAttribute("disabled")) return;
        root.querySelectorAll("[checked]").forEach(r => r.removeAttribute("checked"));
        radio.setAttribute("checked", "");
      });
      root.append(make("mwc-formfield", {label}, radio));
    }
  }
  get value() { return this.shadowRoot.querySelector("[checked]").getAttribute("value").split(",").pop(); }
});

/* ---- dialogs ---- */
const open = (cls, title, text, buttons) => {
  const dialog = make("mwc-dialog", {class: cls, open: ""}, make("h2", {slot: ""}, title), make("div", {}, ...[].concat(text)));
  for (const [label, slot, then] of buttons) {
    const b = make("md-text-button", {slot, dialogaction: slot === "primaryAction" ? "ok" : "cancel", role: "button"}, label);
    b.style.cssText = "display:inline-block;padding:8px;border:1px solid";
    b.addEventListener("click", e => {
      if (!e.isTrusted || dialog.classList.contains("colab-dialog-opening")) return;
      dialog.remove();
      then && then(label);
    });
    dialog.append(b);
  }
  document.body.append(dialog);
  return dialog;
};
const dismissed = label => post(`/api/${told.notebook}/dismiss`, {button: label});
const DIALOGS = {
  quota: () => open("yes-no-dialog", "Cannot connect to GPU backend", "You cannot currently connect to a GPU due to usage limits in Colab. Learn more",
    [["Cancel", "secondaryAction", dismissed], ["Connect without GPU", "primaryAction", dismissed]]),
  units: () => open("yes-no-dialog", "Not enough compute units", "You have used up your compute units.", [["OK", "primaryAction", dismissed]]),
  too_many: () => open("yes-no-dialog", "Too many sessions", "You have too many active sessions. Terminate an existing session to continue.",
    [["Cancel", "secondaryAction", dismissed], ["Manage sessions", "primaryAction", dismissed]]),
  denylisted: () => open("yes-no-dialog", "Access denied", "Your account has been blocked from accessing Colab runtimes due to suspected abusive activity.",
    [["OK", "primaryAction", dismissed]]),
  recaptcha: () => open("yes-no-dialog", "Are you still there?", make("iframe", {src: "/recaptcha/api2/anchor", width: "200", height: "60"}), []),
  idle: () => open("dismiss-runtime-warning", "Runtime disconnected", "Your runtime has been disconnected due to inactivity or reaching its maximum duration.",
    [["Close", "secondaryAction", dismissed], ["Reconnect", "primaryAction", dismissed]]),
};
let dialog = null;
const update = state => {
  const was = shown.dialog;
  shown = state;
  document.querySelectorAll("colab-connect-button").forEach(b => b.show());
  if (state.dialog && (!dialog || !dialog.isConnected || was !== state.dialog)) dialog = DIALOGS[state.dialog]();
  document.querySelectorAll(".cell").forEach((c, i) => {
    c.classList.toggle("running", state.cells[i] === "running");
    c.classList.toggle("pending", state.cells[i] === "pending");
    c.classList.toggle("code-has-error", state.cells[i] === "error");
    if (state.cells[i] !== "idle" && !c.querySelector("iframe"))
      c.append(make("iframe", {src: told.outputs + "/" + told.notebook, class: "output", width: "600", height: "80"}));
  });
};

/* ---- running ---- */
const run = () => {
  if (!told.account || shown.wall)
    return open("sign-in-dialog", "Google sign-in required", "You must be logged in with a Google Account to continue.",
      [["Cancel", "secondaryAction"], ["Sign In", "primaryAction", () => { location = told.accounts + "/ServiceLogin?continue=" + encodeURIComponent(location); }]]);
  const go = () => post(`/api/${told.notebook}/run`);
  if (!shown.warn) return go();
  return open("yes-no-dialog", "Warning: This notebook was not authored by Google",
    "This notebook may request access to your data stored with Google. Please review the source code.",
    [["Cancel", "secondaryAction"], ["Run anyway", "primaryAction", go]]);
};
const commands = {
  "runall": run,
  "change-runtime-type": () => {
    const selector = make("colab-runtime-attributes-selector");
    open("change-runtime-type", "Change runtime type", selector, [["Cancel", "secondaryAction"], ["Save", "primaryAction",
      () => fetch(`/api/${told.notebook}/accelerator`, {method: "POST", body: JSON.stringify({accelerator: selector.value})})]]);
  },
  "powerwash-current-vm": () => open("yes-no-dialog", "Disconnect and delete runtime", "Are you sure you want to delete the runtime?",
    [["Cancel", "secondaryAction"], ["Yes", "primaryAction", () => post(`/api/${told.notebook}/powerwash`)]]),
};
document.addEventListener("keydown", e => {
  if (e.isTrusted && e.ctrlKey && e.key === "F9" && told.notebook) { e.preventDefault(); run(); }
});
const menu = document.getElementById("runtime-menu");
document.getElementById("runtime-menu-button").addEventListener("mousedown", e => { if (e.isTrusted) menu.hidden = !menu.hidden; });
for (const item of menu.querySelectorAll(".goog-menuitem"))
  item.addEventListener("mouseup", e => {
    if (!e.isTrusted) return;                     /* as goog-menu does */
    menu.hidden = true;
    commands[item.getAttribute("command")]();
  });

/* ---- the page ---- */
const header = document.getElementById("header");
if (told.account)
  header.append(make("a", {class: "gb_A", href: "#", "aria-label": `Google Account: Alice (${told.account})`}, "A"));
else
  header.append(make("a", {id: "sign-in", href: told.accounts + "/ServiceLogin?continue=" + encodeURIComponent(location)}, "Sign in"));
if (told.notebook) {
  document.getElementById("top-toolbar").append(make("colab-connect-button"));
  shown.sources.forEach((s, i) => document.getElementById("notebook").append(make("div", {class: "cell code", id: "cell-" + i}, make("pre", {}, s.slice(0, 300)))));
  setInterval(async () => {
    const answer = await fetch(`/api/${told.notebook}/state`);
    if (answer.ok) update(await answer.json());
  }, 100);
} else if (location.hash.includes("upload=true") && told.account) {
  /* The real one builds it late. */
  setTimeout(() => {
    const host = make("colab-open-dialog");
    const input = make("input", {type: "file", accept: ".ipynb"});
    input.addEventListener("change", async () => {
      const file = input.files[0];
      const answer = await fetch("/api/upload", {method: "POST", body: await file.text(), headers: {"X-Name": encodeURIComponent(file.name)}});
      if (answer.ok) location = `/drive/${(await answer.json()).id}`;
      else open("yes-no-dialog", "Notebook loading error", "There was an error loading this notebook. Ensure that the file is accessible and try again.", [["OK", "primaryAction"]]);
    });
    host.attachShadow({mode: "open"}).append(make("div", {class: "upload"}, "Browse", input));
    input.style.display = "none";
    document.body.append(make("mwc-dialog", {class: "open-dialog", open: ""}, host));
  }, 150);
}
