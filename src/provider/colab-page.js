/* Reads one page: arguments are the paths by name (as text), what is asked, a name and a value.  No click, no change. */
const [known, what, name, value] = arguments, paths = JSON.parse(known);
const deep = (root, css, found) => {
	found.push(...root.querySelectorAll(css));
	for (const e of root.querySelectorAll("*"))
		if (e.shadowRoot)
			deep(e.shadowRoot, css, found);
	return found;
};
const all = (path, root) => {
	path = path.replaceAll("@", value || "");
	if (path.startsWith("** "))
		return deep(root, path.slice(3), []);
	let roots = [root];
	path.split(" >>> ").forEach((css, depth) => {
		roots = roots.flatMap(r => depth ? (r.shadowRoot ? [...r.shadowRoot.querySelectorAll(css)] : []) : [...r.querySelectorAll(css)]);
	});
	return roots;
};
const list = (of, root) => {
	for (const path of paths[of] || []) {
		const found = all(path, root || document);
		if (found.length)
			return found;
	}
	return [];
};
const text = e => (e.innerText || e.textContent || "").replace(/\s+/g, " ").trim().slice(0, 400);
const dialogs = list("dialog");
if (what === "node")
	return list(name)[0] || null;
if (what === "dialog") {
	const last = dialogs[dialogs.length - 1];
	/* While it opens it takes no click. */
	return last && !last.classList.contains("colab-dialog-opening") ? list(name, last)[0] || null : null;
}
if (what === "is") {
	const e = list(name)[0];
	return e ? {disabled: e.hasAttribute("disabled") || e.disabled === true, checked: e.hasAttribute("checked") || e.checked === true} : null;
}
const connect = list("connect")[0], account = list("account")[0];
const seen = e => e && e.getClientRects().length > 0;
return {
	url: location.href.slice(0, 1000),
	loaded: document.readyState !== "loading",
	there: Boolean(connect),
	connect: connect ? text(connect) : "",
	usage: list("usage").length > 0,
	dialogs: dialogs.slice(-8).map(text),
	opening: dialogs.some(d => d.classList.contains("colab-dialog-opening")),
	captcha: list("captcha").some(seen) || list("captchaImage").some(seen),
	account: account ? (account.getAttribute("aria-label") || "").slice(0, 200) : "",
	signIn: list("signIn").length > 0,
	email: list("email").some(seen),
	password: list("password").some(seen),
	words: location.pathname.includes("/signin/") ? text(document.body) : "",
	cells: list("cell").length,
	running: list("running").length,
	pending: list("pending").length,
	failed: list("failed").length,
};
