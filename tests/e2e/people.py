"""What a person does with notebooks at any provider, by the API."""
from stack import until


class Owner:
    """A user of the installation: `client`, `name`; `provider`, its `credentials` there, and there(): what a failed test shows of it."""

    def ask(self, accelerator="cpu", title=None, **fields):
        """POST notebooks as it is; the reply, whatever it is."""
        body = {"provider": self.provider, "accelerator": accelerator, **({"title": title} if title else {}), **fields}
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
        return next(a for a in self.accounts() if a["provider"] == self.provider)

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
            raise AssertionError(f"notebook {id} of {self.name} is not {state} {code or ''}: {path}\n{self.there()}") from None

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
