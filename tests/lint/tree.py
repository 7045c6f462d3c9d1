# SPDX-License-Identifier: Apache-2.0
"""What the lint scripts share: which files there are, and C without its comments and strings."""
import os
import re

PRODUCT = ("base", "proto", "storage", "cluster", "broker", "cli")
SANS_IO = ("base", "proto", "cluster/core", "broker/core")  # base without base/io

NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)


def files(root, folders, endings):
    """Paths below the folders, relative to root, sorted."""
    found = []
    for top in folders:
        for folder, below, names in os.walk(os.path.join(root, top)):
            below[:] = [name for name in below if not name.startswith((".", "__", "build"))]
            found += [os.path.relpath(os.path.join(folder, name), root)
                      for name in names if name.endswith(endings)]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def is_below(path, folder):
    return path.startswith(folder + "/")


def is_sans_io(path):
    return any(is_below(path, folder) for folder in SANS_IO) and not is_below(path, "base/io")


def code_only(text):
    """The text with comments and string contents blanked, line for line."""
    def blank(match):
        newlines = "\n" * match[0].count("\n")
        return newlines if match[0].startswith("/") else '""' + newlines
    return NOT_CODE.sub(blank, text)


def includes(text):
    """Yields (line number, '<' or '"', name)."""
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^">]+)[">]', line)
        if match:
            yield number, match[1], match[2]


def main(findings, arguments):
    """The body of each script: one line per finding, exit status 1 if there are any."""
    found = list(findings(arguments[1] if len(arguments) > 1 else "."))
    for line in found:
        print(line)
    return 1 if found else 0
