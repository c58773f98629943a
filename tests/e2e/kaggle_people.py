"""Persons who each have a Kaggle account at the stand-in, and what tests do with their notebooks."""
import itertools
import secrets

from stack import until

counter = itertools.count(1)
keys = []       # (name, key) of everyone: what must be found nowhere


class Person:
    """A user of the installation (`client`) with an account of Kaggle (`account`, `key`) that only the stand-in knows yet."""

    def __init__(self, stack, kaggle, **switches):
        self.stack, self.kaggle = stack, kaggle
        self.name = f"user{next(counter)}x{secrets.token_hex(2)}"
        self.key = secrets.token_hex(16)
        keys.append((self.name, self.key))
        self.client = stack.user(name=self.name)
        self.account = kaggle.account(self.name, self.key, **switches)

    @property
    def credentials(self):
        return {"username": self.name, "key": self.key}

    def ask(self, accelerator="cpu", title=None, **fields):
        """POST notebooks as it is; the reply, whatever it is."""
        body = {"provider": "kaggle", "accelerator": accelerator, **({"title": title} if title else {}), **fields}
        if "credentials" not in body and "accountId" not in body and not self.accounts():
            body["credentials"] = self.credentials
        return self.client.call("POST", "/api/gpu/workers/notebooks", {k: v for k, v in body.items() if v is not None})

    def add(self, accelerator="cpu", title=None, **fields):
        """A new notebook; its id."""
        reply = self.ask(accelerator, title, **fields)
        assert reply.status == 202, reply
        return reply.json["id"]

    def accounts(self):
        return self.client.get("/api/gpu/accounts")["accounts"]

    def account_row(self):
        return next(a for a in self.accounts() if a["provider"] == "kaggle")

    def notebook(self, id):
        return self.client.notebook(id)

    def healthy(self, id, seconds=40):
        return self.becomes(id, "healthy", seconds)

    def becomes(self, id, state, seconds=40, code=None):
        def there():
            n = self.notebook(id)
            seen.append((n["state"], n["reason"]))
            return n["state"] == state and (code is None or (n["reason"] or {}).get("code") == code) and n
        seen = []
        try:
            return until(there, seconds)
        except AssertionError:
            path = [s for i, s in enumerate(seen) if i == 0 or s != seen[i - 1]]
            raise AssertionError(f"notebook {id} of {self.name} is not {state} {code or ''}: {path}\ncalls: {self.calls()[-30:]}") from None

    def stop(self, id):
        self.client.post(f"/api/gpu/workers/notebooks/{id}/stop")

    def start(self, id):
        self.client.post(f"/api/gpu/workers/notebooks/{id}/start")

    def delete(self, id):
        reply = self.client.call("DELETE", f"/api/gpu/workers/notebooks/{id}")
        assert reply.status == 202, reply

    def deleted(self, id, seconds=60):
        def gone():
            reply = self.client.call("GET", f"/api/gpu/workers/notebooks/{id}")
            return reply.status == 404 or reply.json["state"] == "deleted"
        until(gone, seconds)

    # ---- at Kaggle ----
    def kernels(self):
        with self.kaggle.world.lock:
            return {slug: k for (owner, slug), k in self.kaggle.world.kernels.items() if owner == self.name}

    def runs(self, live=None):
        return self.kaggle.runs(self.name, live)

    def calls(self):
        return [(c.method, c.status) for c in self.kaggle.calls if c.owner == self.name]

    def one_run(self):
        """Exactly one thing was started, and it is still there."""
        runs = self.runs()
        assert len(runs) == 1 and runs[0].live, [(r.state, r.version.number) for r in runs]
        return runs[0]

    def nothing_left(self):
        assert not self.runs(live=True) and not self.kernels(), (self.runs(), self.kernels())
