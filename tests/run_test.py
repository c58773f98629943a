#!/usr/bin/python3
"""Of the runner itself: what it counts, and what it says of a command that failed."""
import contextlib
import io
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run  # noqa: E402

CHECK = b"""Running suite(s): lease
66%: Checks: 3, Failures: 1, Errors: 1
tests/db/test_x.c:12:F:core:test_one:0: Assertion 'a == 1' failed: a == 2, 1 == 1
tests/db/test_x.c:20:E:core:test_two:0: (after this point) Test timeout expired
"""
PYTEST = b"""..F
=========================== short test summary info ============================
FAILED tests/e2e/test_x.py::test_a - AssertionError: assert 1 == 2
ERROR tests/e2e/test_x.py::test_b - OSError: [Errno 2]
1 failed, 2 passed, 1 error in 3.21s
"""
SCRIPT = b"src/base/x.c (base) includes from: web\n12 passed, 1 failed\n"
ASAN = b"noise\n==7==ERROR: AddressSanitizer: heap-use-after-free\n    #0 0x1\nSUMMARY: AddressSanitizer: heap-use-after-free x.c:1 in f\n"


class Counts(unittest.TestCase):
    def test_each_closing_line(self):
        self.assertEqual(run.counts(CHECK, 1), (1, 2, 0))
        self.assertEqual(run.counts(PYTEST, 1), (2, 2, 0))
        self.assertEqual(run.counts(SCRIPT, 1), (12, 1, 0))
        self.assertEqual(run.counts(b"3 passed, 0 failed, 2 skipped\n", 0), (3, 0, 2))

    def test_death_counts_as_a_failure(self):
        self.assertEqual(run.counts(b"100%: Checks: 3, Failures: 0, Errors: 0\n", 1), (3, 1, 0))
        self.assertEqual(run.counts(b"", 0), (1, 0, 0))
        self.assertEqual(run.counts(b"", -6), (0, 1, 0))


class Reasons(unittest.TestCase):
    def test_names_the_test_and_the_line(self):
        said = run.reasons(["build/release/tests/db/test_x"], CHECK, 1)
        self.assertEqual([line.split(":")[4] for line in said], ["test_one", "test_two"])
        self.assertIn("a == 2, 1 == 1", said[0])
        said = run.reasons([run.PYTHON, "-m", "pytest", "tests/e2e"], PYTEST, 1)
        self.assertEqual([line.split(" - ")[0].split("::")[1] for line in said], ["test_a", "test_b"])
        self.assertEqual(run.reasons(["sh", "tests/layers.sh"], SCRIPT, 1), ["layers.sh: src/base/x.c (base) includes from: web"])
        self.assertEqual(run.reasons(["build/asan/tests/sim/sim"], ASAN, -6), ["sim: SUMMARY: AddressSanitizer: heap-use-after-free x.c:1 in f"])
        self.assertEqual(run.reasons(["build/asan/tests/sim/sim"], b"", -11), ["sim: exit status -11"])

    def test_stand_after_the_table_and_before_the_last_line(self):
        suite = run.Suite("x", [])
        suite.passed, suite.failed, suite.why = 1, 60, ["line %d" % i for i in range(60)]
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(run.report([suite], 1.0), 1)
        lines = out.getvalue().splitlines()
        self.assertEqual(lines[-1], "1 passed, 60 failed")
        at = lines.index("failed:")
        self.assertGreater(at, max(i for i, line in enumerate(lines) if line.startswith("  in all")))
        said = [line for line in lines[at + 1:-1] if line]
        self.assertEqual(len(said), run.MOST)
        self.assertEqual((said[0], said[-1]), ("  x: line 0", "  and 21 more lines like these"))


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=0).result
    bad = len(result.failures) + len(result.errors)
    print("%d passed, %d failed" % (result.testsRun - bad, bad))
    sys.exit(bool(bad))
