"""Where a key may be: in the request that brings it, and in the provisioner's memory while it is used.  Nowhere else."""
import base64
import os

import kaggle_people
from stack import descendants, until


def needles():
    """Each key as itself and as it goes over the wire."""
    found = []
    for name, key in kaggle_people.keys:
        found += [key.encode(), base64.b64encode(f"{name}:{key}".encode())]
    return found


def holds(content, what):
    return [w for w in what if w in content]


def files_below(directory):
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def test_a_key_is_found_nowhere(person, kaggle, kaggle_stack):
    p, wrong = person(), person()
    id = p.add("cpu", "secret")
    bad = wrong.add("cpu", "refused", credentials={"username": wrong.name, "key": wrong.key[::-1]})
    kaggle_people.keys.append((wrong.name, wrong.key[::-1]))
    p.healthy(id)
    wrong.becomes(bad, "needs_human")
    p.delete(id)
    p.deleted(id)
    what = needles()
    assert len(what) >= 6
    processes = 0
    for pid, line in [(kaggle_stack.process.pid, ""), *descendants(kaggle_stack.process.pid)]:
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    assert not holds(file.read(), what), (name, line)
                processes += 1
            except OSError:
                pass            # it ended meanwhile, or is another user's
    assert processes > 10
    with kaggle.world.lock:
        assert not [r for r in kaggle.world.runs if holds(r.version.text.encode(), what)]

    # Stopped, the database has written all that it had in memory.
    kaggle_stack.stop()
    seen = 0
    try:
        for path in files_below(kaggle_stack.dir):
            with open(path, "rb") as file:
                content = file.read()
            seen += len(content)
            assert not holds(content, what), path
        assert seen > 20_000_000, "the database was not among them"
        marks = [name.encode() for name, _ in kaggle_people.keys[:1]]
        assert any(holds(open(path, "rb").read(), marks) for path in files_below(kaggle_stack.dir / "state")), "the search finds nothing at all"
    finally:
        kaggle_stack.start()
    until(lambda: kaggle_stack.admin.call("GET", "/readyz").status == 200)
