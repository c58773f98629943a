import pytest

from stack import Stack, kaggle_settings
from kaggle_people import Person
from standin import KaggleStandIn


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


@pytest.fixture(scope="session")
def kaggle():
    with KaggleStandIn() as standin:
        yield standin


@pytest.fixture(scope="session")
def kaggle_stack(kaggle):
    """One installation whose Kaggle is the stand-in."""
    s = Stack(**kaggle_settings(kaggle))
    s.start()
    yield s
    s.close()


@pytest.fixture
def person(kaggle, kaggle_stack):
    """Makes persons; at the end what they started at Kaggle is over, and nobody misbehaved."""
    made = []

    def make(**switches):
        made.append(Person(kaggle_stack, kaggle, **switches))
        return made[-1]
    yield make
    for p in made:
        kaggle.clear(p.name)
        for n in p.client.get("/api/gpu/workers/notebooks")["notebooks"]:
            p.client.call("DELETE", f"/api/gpu/workers/notebooks/{n['id']}")
    kaggle.blameless()
