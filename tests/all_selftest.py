#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/all.py: what counts when something has failed, and what is said about it."""
import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True

TESTS = os.path.dirname(os.path.abspath(__file__))
_spec = importlib.util.spec_from_file_location("all_tests", os.path.join(TESTS, "all.py"))
runner = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(runner)

# A system test that fails as often as the file says, one line a run, and says `why` then.
SYSTEM_TEST = """#!/usr/bin/python3
import sys
lines = open({path!r}).read().split()
open({path!r}, "w").write(" ".join(lines[1:]))
print("ok the_first")
print("not ok the_second: {why}" if lines[0] == "bad" else "ok the_second")
sys.exit(lines[0] == "bad")
"""


class Tries(unittest.TestCase):
    def run_one(self, fates, why="late"):
        """(last line, all that was said, runs that were not needed) of a test with these fates."""
        with tempfile.TemporaryDirectory() as folder:
            fate_path = os.path.join(folder, "fates")
            with open(fate_path, "w", encoding="ascii") as out:
                out.write(" ".join(fates))
            path = os.path.join(folder, "x_test.py")
            with open(path, "w", encoding="ascii") as out:
                out.write(SYSTEM_TEST.format(path=fate_path, why=why))
            os.chmod(path, 0o755)
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                totals = runner.Totals()
                for outcome, attempt in runner.system_tests_run([path], "release", totals):
                    totals.add(*runner.try_again(outcome, attempt, totals))
                status = totals.finish()
            with open(fate_path, encoding="ascii") as left:
                unused = left.read().split()
            lines = said.getvalue().splitlines()
            self.assertEqual(status, 0 if lines[-1] == "2 passed, 0 failed" else 1)
            return lines[-1], said.getvalue(), unused

    def test_what_passes_is_not_tried_again(self):
        last, said, unused = self.run_one(["good", "good"])
        self.assertEqual((last, unused), ("2 passed, 0 failed", ["good"]))
        self.assertNotIn("another try", said)

    def test_two_more_tries(self):
        last, said, unused = self.run_one(["bad", "good", "good"])
        self.assertEqual((last, unused), ("2 passed, 0 failed", ["good"]))
        self.assertIn("[release]: failed once, passed by itself\n", said)
        last, said, unused = self.run_one(["bad", "bad", "good", "good"])
        self.assertEqual((last, unused), ("2 passed, 0 failed", ["good"]))
        self.assertIn("[release]: failed 2 times, passed by itself\n", said)
        self.assertEqual(said.count("not ok the_second: late\n"), 2)
        self.assertIn("what needed another try:\n", said)
        self.assertEqual(said.splitlines()[-2].count("the_second: late"), 1)

    def test_after_three_it_has_failed(self):
        last, said, unused = self.run_one(["bad", "bad", "bad", "good"])
        self.assertEqual((last, unused), ("1 passed, 1 failed", ["good"]))
        self.assertEqual(said.count("not ok the_second: late\n"), 3)
        self.assertIn("failed 3 times, did not pass", said)

    def test_no_try_takes_back_a_sanitizer_or_a_crash(self):
        for why in ("n1: WARNING: ThreadSanitizer", "n1: ERROR: AddressSanitizer",
                    "n1: runtime error: ", "n1 ended by itself with status -6"):
            last, said, unused = self.run_one(["bad", "good"], why)
            self.assertEqual((last, unused), ("1 passed, 1 failed", ["good"]))
            self.assertIn(f"not ok the_second: {why}", said)
        last = self.run_one(["bad", "good"], "n1 ended by itself with status 1")[0]
        self.assertEqual(last, "2 passed, 0 failed")

    def test_a_program_of_ctest_is_tried_again_too(self):
        bad = runner.Outcome("base.x [asan]", runner.Sum(3, 1, 0), ["base.x [asan]: how"],
                             time.monotonic(), "3%: Received signal 11 (Segmentation fault)")
        good = bad._replace(sum=runner.Sum(4, 0, 0), complaints=[], details="")
        for details, expected in (("timeout expired", good.sum), (bad.details, bad.sum)):
            with contextlib.redirect_stdout(io.StringIO()):
                totals = runner.Totals()
                first = bad._replace(details=details)
                self.assertEqual(runner.try_again(first, lambda: good, totals).sum, expected)


    def test_after_the_limit_nothing_begins(self):
        runner.LIMIT.minutes = 0
        try:
            last, said, unused = self.run_one(["good"])
            with contextlib.redirect_stdout(io.StringIO()):
                totals = runner.Totals()
                self.assertFalse(runner.build("release", totals))
        finally:
            runner.LIMIT.minutes = float("inf")
        self.assertEqual((last, unused), ("0 passed, 0 failed, 1 skipped", ["good"]))
        self.assertIn("skipped: ", said)
        self.assertEqual(totals.sum, runner.Sum(0, 0, 1))


class Quiet(unittest.TestCase):
    def test_the_next_build_is_waited_for_before_another_try(self):
        done = []
        first = runner.Outcome("x", runner.Sum(0, 1, 0), ["x"], time.monotonic(), "")

        def attempt():
            done.append("try")
            return first._replace(sum=runner.Sum(1, 0, 0), complaints=[])
        kept = runner.ctest, runner.system_tests_run
        runner.ctest = lambda *_: []
        runner.system_tests_run = lambda *_: [(first, attempt)]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                runner.run_tests("tsan", [], runner.Totals(), lambda: done.append("quiet"))
        finally:
            runner.ctest, runner.system_tests_run = kept
        self.assertEqual(done, ["quiet", "try"])


if __name__ == "__main__":
    unittest.main()
