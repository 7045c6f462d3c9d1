#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The mistakes that tests/crash/planted makes can still be made: their patches fit the tree."""
import glob
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from harness import ROOT, Skip, case, check, main


@case
def every_patch_fits():
    if shutil.which("patch") is None:
        raise Skip("needs patch")
    paths = sorted(glob.glob(os.path.join(HERE, "mistakes", "*.patch")))
    check(len(paths) > 10, f"only {len(paths)} mistakes")
    for path in paths:
        done = subprocess.run(["patch", "-d", ROOT, "-p1", "--dry-run", "--batch", "-i", path],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        check(done.returncode == 0, f"{os.path.basename(path)}: {done.stdout}")


if __name__ == "__main__":
    main()
