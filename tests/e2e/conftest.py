import pytest

from stack import Stack


@pytest.fixture(scope="session")
def stack():
    """One installation that all tests share which do not break it."""
    s = Stack()
    s.start()
    yield s
    s.close()


@pytest.fixture(scope="session")
def admin(stack):
    return stack.admin


@pytest.fixture(scope="session")
def worker(stack, admin):
    """The local worker that the installation made for itself, healthy; the only one that takes jobs."""
    id = admin.get("/api/gpu/workers/notebooks")["notebooks"][0]["id"]
    admin.healthy(id)
    return id


@pytest.fixture
def own_stack():
    """Installations for tests that kill things; each call makes another."""
    made = []

    def make(**settings):
        s = Stack(**settings)
        made.append(s)
        return s.start()
    yield make
    for s in made:
        s.close()
