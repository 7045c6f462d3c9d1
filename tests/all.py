#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Builds and runs all tests.

Areas: lint; unit, fuzz, sim, cli (by ctest); and the folders tests/AREA with system tests, which
are executables *_test.py on tests/harness.py.  Without an area: all.

Everything runs with the release build (gcc) and again with AddressSanitizer and UBSan (clang); what
has threads also with ThreadSanitizer (clang).  --quick is the release build only, without docker.
--minutes: what has not begun after so many is skipped, and says so; without it there is no limit.

Packages that are missing are installed (deploy/install-deps).  Nothing uses fixed ports or
directories, so that several runs may go on at once.  What fails beside others gets up to two more
tries by itself, with nothing running beside it.  The output of every failed try is printed, and at
the end is told what needed another try; the last line is the sum over all test cases: N passed,
N failed[, N skipped].
"""
import argparse
import collections
import concurrent.futures
import fcntl
import functools
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TESTS = os.path.join(ROOT, "tests")
JOBS = os.cpu_count() or 1

CTEST_AREAS = ("unit", "fuzz", "sim", "cli")
BUILD_SECONDS_MAX = 1800
CTEST_SECONDS_MAX = 3600
SYSTEM_SECONDS_MAX = 1800
# System tests wait more than they compute: two at once keep two cores busy for a third of the time.
# The unit tests, which compute, have the rest.  Three at once were quicker, and more was late.
SYSTEM_TESTS_AT_ONCE = 2
# These take longest and begin first, so that none of them is left alone at the end.
LONG = ("ledger_test.py", "bad_input_test.py", "bad_inputs_test.py", "partition_test.py",
        "full_disk_test.py", "power_test.py", "memory_limit_test.py", "overload_test.py",
        "recovery_test.py", "many_sessions_test.py", "scale_test.py")

# Of what computes while system tests wait: the next build, and the unit tests.
NICENESS = 10
UNITS_NICENESS = 5

# What fails beside others on a small, busy machine is tried again by itself: so often in all, and
# with --minutes for so much longer.
TRIES_MAX = 3
TRIES_TIME_FACTOR = 1.3
# What no machine is too slow for, and no later try takes back: a sanitizer spoke, or a node crashed.
INEXCUSABLE = re.compile(r"(ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error: |"
                         r"(ended (by itself )?with status -|Received signal )(4|6|7|8|11)\b)")

# What runs with which build.  `sim` is one thread and all computing: the release build's seeds are
# worth more than the same seeds again, slowly.
AREAS_OF = {
    "release": None,  # all
    "asan": ("unit", "fuzz", "cli", "mqtt", "cluster", "crash", "disk"),
    "tsan": ("unit", "mqtt", "cluster", "crash"),
}
# These measure memory, speed and what a flood may cost: with a sanitizer they measure the sanitizer.
RELEASE_ONLY = ("routes_test.py", "overload_test.py", "scale_test.py", "many_sessions_test.py",
                "slow_disk_test.py")
# Factors of all deadlines that are not what is tested: machines may be small, busy and shared.
PATIENCE_OF = {"release": "2", "asan": "4", "tsan": "8"}
# Codecs and tables have no threads of their own.
TSAN_UNITS = re.compile(r"^(base\.io|storage|cluster|broker)\.")

Sum = collections.namedtuple("Sum", "passed failed skipped")


class Totals:
    """Adds up, and says what went wrong once more at the end."""

    def __init__(self):
        self.sum = Sum(0, 0, 0)
        self.complaints = []
        self.tried_again = []
        self._lock = threading.Lock()  # for all of it, and for what is printed in one piece

    def add(self, what, result, complaints, began, details=""):
        with self._lock:
            self.sum = Sum(*(a + b for a, b in zip(self.sum, result)))
            self.complaints += complaints
            if details:
                print(details.rstrip("\n"))
            say(f"{what}: {describe(result)} ({time.monotonic() - began:.0f} s)")

    def finish(self):
        if self.tried_again:
            say("what needed another try:")
            for line in self.tried_again:
                print(f"    {line}")
        if self.complaints:
            say("what failed:")
            for complaint in self.complaints:
                print(f"    {complaint}")
        print(describe(self.sum), flush=True)
        return 1 if self.sum.failed or not self.sum.passed else 0


def describe(result):
    text = f"{result.passed} passed, {result.failed} failed"
    return text + (f", {result.skipped} skipped" if result.skipped else "")


def say(text):
    print(f"tests/run: {text}", flush=True)


class TimeLimit:
    """For machines so slow that a run would be ended from outside and come to no result."""

    def __init__(self):
        self.minutes = float("inf")
        self._began = time.monotonic()

    def is_over(self, factor=1):
        return time.monotonic() - self._began >= factor * 60 * self.minutes


LIMIT = TimeLimit()


_running = set()


def run(command, seconds, **options):
    """(exit status, all output).  After `seconds` the whole process group is ended: status None."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                               start_new_session=True, **options)
    _running.add(process.pid)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
    finally:
        _running.discard(process.pid)
    try:
        output, _ = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    return None, output


def on_signal(number, _frame):
    """Everything that we have started ends with us."""
    for pid in list(_running):
        os.killpg(pid, signal.SIGTERM)
    print(f"tests/run: ended by {signal.Signals(number).name}", flush=True)
    os._exit(1)


# ---- tries --------------------------------------------------------------------------------------

# What one try has come to; `details` is what is worth reading of its output.
Outcome = collections.namedtuple("Outcome", "name sum complaints began details")


def is_excusable(outcome):
    return not any(INEXCUSABLE.search(text) for text in [*outcome.complaints, outcome.details])


def try_again(first, attempt, totals):
    """
    For what has failed beside others, when nothing runs any more.  attempt() is one more try.  Each
    failed try is told, not hidden; the last try is what counts.
    """
    failed, last = 0, first
    while last.complaints:
        failed += 1
        say(f"failed, try {failed} of {TRIES_MAX}: {last.name}")
        print(last.details.rstrip("\n"), flush=True)
        if failed == TRIES_MAX or not is_excusable(last) or LIMIT.is_over(TRIES_TIME_FACTOR):
            break
        say(f"once more, by itself: {last.name}")
        last = attempt()
    word = "passed by itself" if not last.complaints else "did not pass"
    if failed > 1 or not last.complaints:
        why = "; ".join(first.complaints)
        totals.tried_again.append(f"{first.name}: failed {times(failed)}, {word} (at first: {why})")
    if not last.complaints:
        say(f"{last.name}: failed {times(failed)}, passed by itself")
        return last
    return last._replace(details="")


def times(count):
    return "once" if count == 1 else f"{count} times"


def skipped_for_lack_of_time(name):
    return Outcome(name, Sum(0, 0, 1), [], time.monotonic(), f"    skipped: {name}: no time left")


# ---- packages and builds ------------------------------------------------------------------------


def docker_works():
    try:
        return run(["docker", "info"], 30)[0] == 0
    except FileNotFoundError:
        return False


def install(areas):
    groups = ["build", "tests"]
    if "docker" in areas and docker_works():
        groups.append("docker")
    return subprocess.run([os.path.join(ROOT, "deploy", "install-deps"), *groups],
                          stdin=subprocess.DEVNULL, check=False).returncode == 0


def build(preset, totals, niceness=0):
    """Whether build/PRESET could be made."""
    if LIMIT.is_over():
        totals.add(*skipped_for_lack_of_time(f"everything with {preset}"))
        return False
    began = time.monotonic()
    folder = os.path.join(ROOT, "build", preset)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be building the same
        for command in (["cmake", "--preset", preset, "-DGRAPEVINE_TESTS=ON"],
                        ["cmake", "--build", folder, "-j", str(JOBS)]):
            status, output = run(["nice", "-n", str(niceness), *command], BUILD_SECONDS_MAX)
            if status != 0:
                totals.add(f"build {preset}", Sum(0, 1, 0), [f"build {preset}"], began, output)
                return False
    say(f"build {preset}: done ({time.monotonic() - began:.0f} s)")
    return True


# ---- lint ---------------------------------------------------------------------------------------


def lint(totals):
    for name in ("tests/lint/run", "tests/lint/selftest.py", "tests/all_selftest.py"):
        began = time.monotonic()
        status, output = run([os.path.join(ROOT, name)], 300)
        failed = status != 0
        totals.add(name, cases_of(output, failed), [name] if failed else [], began,
                   output if failed else "")


# ---- ctest --------------------------------------------------------------------------------------


def ctest_area(name):
    first = name.split(".")[0]
    if first in ("fuzz", "sim", "lint") or name == "cli":
        return first
    return "unit"


def ctest_selection(folder, preset, areas):
    """The tests to run: name to number, as ctest counts them."""
    _, output = run(["ctest", "--test-dir", folder, "--show-only=json-v1"], 60)
    names = [test["name"] for test in json.loads(output)["tests"]]
    return {name: number for number, name in enumerate(names, 1)
            if ctest_area(name) in areas and
            (preset != "tsan" or ctest_area(name) != "unit" or TSAN_UNITS.match(name))}


def cases_of(output, failed):
    """The cases a program has run, as its framework says; one for a program that says nothing."""
    checks = re.findall(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", output, re.M)
    if checks:
        total, wrong = (sum(int(c[0]) for c in checks), sum(int(c[1]) + int(c[2]) for c in checks))
        skipped = 0
    elif unit := re.search(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED)(.*)$", output, re.M):
        counts = dict(re.findall(r"(failures|errors|skipped)=(\d+)", unit.group(2)))
        total, skipped = int(unit.group(1)), int(counts.get("skipped", 0))
        wrong = int(counts.get("failures", 0)) + int(counts.get("errors", 0))
    else:
        total, wrong, skipped = 1, 0, 0
    wrong = max(wrong, int(failed))
    return Sum(max(0, total - wrong - skipped), wrong, skipped)


def ctest_run(preset, numbers, jobs, niceness=0):
    """(test cases of the report, all output); no test cases if it did not come to its end."""
    folder = os.path.join(ROOT, "build", preset)
    with tempfile.NamedTemporaryFile(prefix="grapevine-ctest-", suffix=".xml") as report:
        status, output = run(
            ["nice", "-n", str(niceness), "ctest", "--test-dir", folder, "-j", str(jobs),
             "-I", f"0,0,0,{','.join(map(str, numbers))}", "--output-junit", report.name,
             "--test-output-size-passed", "1000000", "--test-output-size-failed", "1000000"],
            CTEST_SECONDS_MAX, env=test_environment(preset))
        try:
            tests = xml.etree.ElementTree.parse(report.name).getroot().findall("testcase")
        except xml.etree.ElementTree.ParseError:
            tests = []
    return [] if status is None else tests, output


def ctest_outcome(preset, test, began):
    name, said = test.get("name"), test.findtext("system-out") or ""
    failed = test.get("status") != "run"
    complaints = [f"{name} [{preset}]: ctest --test-dir build/{preset} -R '^{name}$' -V"]
    return Outcome(f"{name} [{preset}]", cases_of(said, failed), complaints if failed else [], began,
                   f"---- {name} [{preset}]\n{said}" if failed else "")


def ctest_again(preset, number, first):
    """One test program by itself."""
    began = time.monotonic()
    tests, output = ctest_run(preset, [number], 1)
    if not tests:
        return first._replace(details=f"---- {first.name}: did not come to its end\n{output}")
    return ctest_outcome(preset, tests[0], began)


def ctest(preset, areas, totals):
    """All at once; what fails is given back, to be tried again: [(outcome, attempt)]."""
    began = time.monotonic()
    numbers = ctest_selection(os.path.join(ROOT, "build", preset), preset, areas)
    if not numbers:
        return []
    what = f"ctest {preset} ({', '.join(a for a in CTEST_AREAS if a in areas)})"
    if LIMIT.is_over():
        totals.add(*skipped_for_lack_of_time(what))
        return []
    tests, output = ctest_run(preset, list(numbers.values()), JOBS, UNITS_NICENESS)
    if not tests:
        totals.add(what, Sum(0, 1, 0), [f"{what}: did not come to its end"], began, output)
        return []
    outcomes = [ctest_outcome(preset, test, began) for test in tests]
    good = [outcome.sum for outcome in outcomes if not outcome.complaints]
    totals.add(what, Sum(*map(sum, zip(Sum(0, 0, 0), *good))), [], began)
    return [(outcome, functools.partial(ctest_again, preset, numbers[test.get("name")], outcome))
            for outcome, test in zip(outcomes, tests) if outcome.complaints]


# ---- system tests -------------------------------------------------------------------------------


def test_environment(preset):
    return {**os.environ, "GRAPEVINE_TEST_PATIENCE": PATIENCE_OF[preset],
            "GRAPEVINE_BIN": os.path.join(ROOT, "build", preset, "bin"),
            "PYTHONDONTWRITEBYTECODE": "1"}


def system_tests(area):
    return sorted(path for path in glob.glob(os.path.join(TESTS, area, "*_test.py"))
                  if os.access(path, os.X_OK))


def system_test(path, preset):
    began = time.monotonic()
    name = f"{os.path.relpath(path, ROOT)} [{preset}]"
    if LIMIT.is_over():
        return skipped_for_lack_of_time(name)
    status, output = run([path], SYSTEM_SECONDS_MAX, env=test_environment(preset))
    words = re.findall(r"^(ok|not ok|skip) (.*)$", output, re.M)
    counts = collections.Counter(word for word, _ in words)
    complaints = [f"{name} {text}" for word, text in words if word == "not ok"]
    if status is None:
        complaints.append(f"{name}: ended after {SYSTEM_SECONDS_MAX} s")
    elif status != 0 and not complaints:
        complaints.append(f"{name}: exit status {status}")
    elif not words:
        complaints.append(f"{name}: no test was run")
    details = f"---- {name}\n{output}" if complaints else "\n".join(
        f"    skipped: {text}" for word, text in words if word == "skip")
    return Outcome(name, Sum(counts["ok"], len(complaints), counts["skip"]), complaints, began,
                   details)


def system_tests_run(paths, preset, totals):
    """Side by side; what fails is given back, to be tried again: [(outcome, attempt)]."""
    again = []
    with concurrent.futures.ThreadPoolExecutor(SYSTEM_TESTS_AT_ONCE) as pool:
        begun = {pool.submit(system_test, path, preset): path for path in paths}
        for done in concurrent.futures.as_completed(begun):
            outcome = done.result()
            if outcome.complaints:
                say(f"failed beside others: {'; '.join(outcome.complaints)}")
                again.append((outcome, functools.partial(system_test, begun[done], preset)))
            else:
                totals.add(*outcome)
    return again


# ---- all ----------------------------------------------------------------------------------------


def all_areas():
    folders = {os.path.basename(os.path.dirname(path))
               for path in glob.glob(os.path.join(TESTS, "*", "*_test.py"))}
    return ["lint", *CTEST_AREAS, *sorted(folders - {"lint", *CTEST_AREAS})]


def areas_of(preset, areas):
    """Those of the areas that run with this build; none if it is not needed."""
    if AREAS_OF[preset] is not None:
        areas = [area for area in areas if area in AREAS_OF[preset]]
    return [area for area in areas if area not in ("lint", "docker")]


def run_tests(preset, areas, totals, wait_for_quiet):
    """Everything of one build, except making it: what computes beside what waits."""
    paths = [path for area in areas if area not in CTEST_AREAS
             for path in system_tests(area)
             if preset == "release" or os.path.basename(path) not in RELEASE_ONLY]
    paths.sort(key=lambda path: os.path.basename(path) not in LONG)
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        units = beside.submit(ctest, preset, [a for a in areas if a in CTEST_AREAS], totals)
        again = system_tests_run(paths, preset, totals)
        again = units.result() + again
    if again:
        wait_for_quiet()
    for outcome, attempt in again:
        totals.add(*try_again(outcome, attempt, totals))


def run_builds(presets, areas, totals):
    """
    One build after the other; the next one is made while the tests of the one before wait, but not
    while something is tried again.
    """
    presets = [preset for preset in presets if areas_of(preset, areas)]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        made = pool.submit(build, presets[0], totals) if presets else None
        for i, preset in enumerate(presets):
            is_made = made.result()
            if i + 1 < len(presets):
                made = pool.submit(build, presets[i + 1], totals, NICENESS)
            if is_made:
                run_tests(preset, areas_of(preset, areas), totals, made.result)


def arguments():
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=LIMIT.minutes)
    parser.add_argument("areas", nargs="*", metavar="AREA")
    parsed = parser.parse_args()
    if unknown := set(parsed.areas) - set(all_areas()):
        parser.error(f"no such area: {', '.join(sorted(unknown))}; "
                     f"there are {', '.join(all_areas())}")
    return parsed


def main():
    parsed = arguments()
    quick, wanted = parsed.quick, parsed.areas
    LIMIT.minutes = parsed.minutes
    areas = wanted or [area for area in all_areas() if not (quick and area == "docker")]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    totals = Totals()
    if not install(areas):
        totals.add("packages", Sum(0, 1, 0), ["deploy/install-deps"], time.monotonic())
        return totals.finish()
    if "lint" in areas:
        lint(totals)
    run_builds(["release"] if quick else list(AREAS_OF), areas, totals)
    if "docker" in areas:  # makes its own build, in the image
        for outcome, attempt in system_tests_run(system_tests("docker"), "release", totals):
            totals.add(*try_again(outcome, attempt, totals))
    return totals.finish()


if __name__ == "__main__":
    sys.exit(main())
