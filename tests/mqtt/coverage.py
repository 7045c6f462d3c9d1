#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Prints which normative statement of MQTT 3.1.1 and 5.0 is tested by which test, and which is not.
Those that need no test have a reason in statements/untested.tsv, which stands in the test's place.

    tests/mqtt/coverage.py             # all
    tests/mqtt/coverage.py --missing   # without test and without reason; exit status 1 if there are
"""

import csv
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def statements(version):
    with open(HERE / "statements" / f"{version}.tsv", encoding="utf-8") as rows:
        for row in csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["id"].removeprefix("MQTT-"), row["paraphrase"]


def tests():
    found = {}
    for path in sorted(HERE.glob("*_test.py")):
        if "suite.main()" not in path.read_text():
            continue
        listing = subprocess.run([path, "--statements"], capture_output=True, text=True, check=True)
        for line in listing.stdout.splitlines():
            version, statement, test = line.split("\t")
            found.setdefault((version, statement), []).append(test)
    return found


def reasons():
    with open(HERE / "statements" / "untested.tsv", encoding="utf-8") as rows:
        return {(row["version"], row["id"].removeprefix("MQTT-")): row["reason"]
                for row in csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE)}


def main():
    found, excused, missing = tests(), reasons(), 0
    if wrong := [" ".join(key) for key in excused if key in found]:
        sys.exit(f"tested, and yet in untested.tsv: {', '.join(wrong)}")
    for version in ("v311", "v5"):
        known = dict(statements(version))
        named = {statement for v, statement in [*found, *excused] if v == version}
        unknown = named - set(known)
        if unknown:
            sys.exit(f"{version}: no such statements: {', '.join(sorted(unknown))}")
        tested = [s for s in known if (version, s) in found]
        for statement, text in known.items():
            where = found.get((version, statement), [])
            reason = excused.get((version, statement))
            missing += not where and not reason
            if "--missing" not in sys.argv or not (where or reason):
                print(version, statement, ", ".join(where) or f"({reason or 'not tested'})", text,
                      sep="\t")
        left_out = sum(v == version for v, _ in excused)
        print(f"# {version}: {len(tested)} of {len(known)} statements tested, "
              f"{left_out} need no test")
    return 1 if missing and "--missing" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
