# SPDX-License-Identifier: Apache-2.0
"""What the test programs of this folder have in common: running tests, printing, waiting.

A program registers functions with @test and ends with main().  Each prints one line,
`ok NAME`, `not ok NAME: why` or `skip NAME: why`; measured figures come before it as `# NAME: ...`.

    tests/cluster/failure_test.py [WORD...]    only the tests with one of the words in their names

Environment: GRAPEVINE_BIN, the folder with grapevined; GRAPEVINE_LONG=1, the long variants too;
GRAPEVINE_SLOW=N, a build that is N times slower (sanitizers): bounds on time are N times wider.
"""
import os
import sys
import time
import traceback

SLOW = float(os.environ.get("GRAPEVINE_SLOW", "1"))
LONG = os.environ.get("GRAPEVINE_LONG", "") not in ("", "0")

_tests = []


class Failed(Exception):
    """A test's finding."""


class Skipped(Exception):
    """The test cannot run here."""


def test(function):
    _tests.append(function)
    return function


def require(condition, why):
    if not condition:
        raise Failed(why)


def long_only():
    if not LONG:
        raise Skipped("long: set GRAPEVINE_LONG=1")


def eventually(condition, seconds, what, every=0.02):
    """Waits until condition() is true and gives its value; not in time: `what` says the failure.

    `what` may be a function: then it tells what is so instead.
    """
    begun = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() - begun > seconds * SLOW:
            raise Failed(f"not within {seconds * SLOW:g} s: {what() if callable(what) else what}")
        time.sleep(every)


def figure(text):
    print(f"# {text}", flush=True)


def _run(function):
    name = function.__name__
    begun = time.monotonic()
    try:
        function()
    except Skipped as skipped:
        print(f"skip {name}: {skipped}", flush=True)
        return True
    except Failed as failed:
        print(f"not ok {name}: {failed}", flush=True)
        return False
    except Exception as error:  # a broken test must not look like a passed one
        traceback.print_exc()
        print(f"not ok {name}: {type(error).__name__}: {error}", flush=True)
        return False
    print(f"ok {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    return True


def main():
    words = sys.argv[1:]
    chosen = [t for t in _tests if not words or any(w in t.__name__ for w in words)]
    if not chosen:
        print(f"no test has {' or '.join(words)} in its name", file=sys.stderr)
        sys.exit(2)
    passed = [_run(t) for t in chosen]
    # Not exit(): a reader thread that hangs on a socket must not keep the program alive.
    sys.stdout.flush()
    os._exit(0 if all(passed) else 1)
