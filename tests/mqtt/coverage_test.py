#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every statement of the standards is tested, or stands with its reason in statements/untested.tsv."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harness import case, check, main


@case
def no_statement_is_forgotten():
    table = subprocess.run([HERE / "coverage.py", "--missing"], capture_output=True, text=True,
                           check=False)
    print("\n".join(f"# {line.lstrip('# ')}" for line in table.stdout.splitlines()))
    check(table.returncode == 0, f"statements without a test or a reason: {table.stderr.strip()}")


if __name__ == "__main__":
    main()
