#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Prints which normative statement of MQTT 3.1.1 and 5.0 is tested by which test, and which is not.

    tests/mqtt/coverage.py [--missing]
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


def main():
    found = tests()
    for version in ("v311", "v5"):
        known = dict(statements(version))
        unknown = {statement for v, statement in found if v == version} - set(known)
        if unknown:
            sys.exit(f"{version}: no such statements: {', '.join(sorted(unknown))}")
        tested = [s for s in known if (version, s) in found]
        for statement, text in known.items():
            where = found.get((version, statement), [])
            if "--missing" not in sys.argv or not where:
                print(version, statement, ", ".join(where) or "-", text, sep="\t")
        print(f"# {version}: {len(tested)} of {len(known)} statements")


if __name__ == "__main__":
    main()
