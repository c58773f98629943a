"""Persons who each have a Kaggle account at the stand-in, and what tests do with their notebooks."""
import itertools
import secrets

from people import Owner

counter = itertools.count(1)
keys = []       # (name, key) of everyone: what must be found nowhere


class Person(Owner):
    """A user of the installation (`client`) with an account of Kaggle (`account`, `key`) that only the stand-in knows yet."""

    provider = "kaggle"

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

    # ---- at Kaggle ----
    def kernels(self):
        with self.kaggle.world.lock:
            return {slug: k for (owner, slug), k in self.kaggle.world.kernels.items() if owner == self.name}

    def runs(self, live=None):
        return self.kaggle.runs(self.name, live)

    def calls(self):
        return [(c.method, c.status) for c in self.kaggle.calls if c.owner == self.name]

    def there(self):
        return f"calls: {self.calls()[-30:]}"

    def one_run(self):
        """Exactly one thing was started, and it is still there."""
        runs = self.runs()
        assert len(runs) == 1 and runs[0].live, [(r.state, r.version.number) for r in runs]
        return runs[0]

    def nothing_left(self):
        assert not self.runs(live=True) and not self.kernels(), (self.runs(), self.kernels())
