#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of the lint: a clean tree has no findings, and one planted mistake of each kind is found."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

import banned  # noqa: E402
import floors  # noqa: E402
import registered  # noqa: E402
import tree  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))

# Right in every respect, with everything in it that looks like a mistake and is none.
CLEAN = {
    "base/grape.h": "#pragma once\n",
    "base/grape.c": '#include "base/grape.h"\n\n#include <string.h>\n\n#include "base/grape_p.h"\n',
    "base/grape_p.h": "#pragma once\n",
    "base/io/loop.h": '#pragma once\n#include <uv.h>\n#include "base/grape.h"\n',
    "proto/vine.c": """#include "base/grape.h"

/* We never call malloc() or strcpy(a, b)
 * here, nor time(NULL). */
const char *const vine = "free(x) rand() 'stderr'"; // printf("no")

void vine_use(struct ops *ops)
{
    ops->free(ops);
    ops->time.time(1);
    gv_free(ops);
    my_rand();
    int time = 0;
}
""",
    "storage/store.c": '#include <time.h>\n#include "base/io/loop.h"\n',
    "cluster/core/core.c": '#include "proto/vine.h"\n#include "cluster/core/core.h"\n',
    "broker/sample.c": '#include "cluster/cluster.h"\n#include "storage/store.h"\n',
    "cli/sample.c":
        '#include "base/io/loop.h"\n#include "proto/vine.h"\n#include "storage/inspect.h"\n',
    "tests/sim/sim.c": '#include "broker/sample.h"\n\nvoid f(void)\n{\n    free(malloc(1));\n}\n',
    "tests/unit/base/grape_test.c":
        '#include "base/grape_p.h"\n\nSTART_TEST(it_is_sweet)\n{\n    ck_assert(1);\n}\nEND_TEST\n\n'
        "int main(void)\n{\n    tcase_add_test(tc, it_is_sweet);\n}\n",
    "build/debug/base/generated.c": '#include "broker/sample.h"\n',
}
for _unit in ("proto/vine", "storage/store", "cluster/core/core", "broker/sample", "cli/sample"):
    CLEAN[f"tests/unit/{_unit}_test.c"] = "int main(void)\n{\n    return 0;\n}\n"


class Tree(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="lint-selftest-")
        self.addCleanup(shutil.rmtree, self.root)
        for path, text in CLEAN.items():
            self.plant(path, text)

    def plant(self, path, text):
        where = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where, "w", encoding="utf-8") as file:
            file.write(text)

    def assert_finds(self, check, path, text, expected):
        """With the file planted there is exactly one finding: `expected` begins and ends it."""
        self.plant(path, text)
        found = list(check(self.root))
        self.assertEqual(len(found), 1, found)
        begin, end = expected
        self.assertTrue(found[0].startswith(begin), found[0])
        self.assertIn(end, found[0])


class Floors(Tree):
    def test_clean(self):
        self.assertEqual(list(floors.findings(self.root)), [])

    def test_each_kind(self):
        above = "a floor above"
        for path, include, end in (
                ("base/x.c", "base/io/loop.h", above),
                ("base/x.h", "proto/vine.h", above),
                ("base/io/x.c", "proto/vine.h", above),
                ("proto/x.c", "storage/store.h", above),
                ("storage/x.c", "cluster/cluster.h", above),
                ("cluster/link/x.c", "broker/sample.h", above),
                ("broker/x.c", "cli/sample.h", above),
                ("cli/x.c", "storage/store.h", "cli/ sees base/, proto/ and storage/inspect.h only"),
                ("cli/x.c", "cluster/cluster.h", "cli/ sees base/, proto/ and storage/inspect.h only"),
                ("cli/x.c", "broker/sample.h", "cli/ sees base/, proto/ and storage/inspect.h only"),
                ("proto/x.c", "base/io/loop.h", "in sans-I/O code"),
                ("cluster/core/x.c", "base/io/loop.h", "in sans-I/O code"),
                ("broker/core/x.c", "base/io/loop.h", "in sans-I/O code"),
                ("broker/x.c", "base/grape_p.h", "private to base/"),
                ("base/io/x.c", "base/grape_p.h", "private to base/"),
                ("base/x.c", "grape.h", "write it from the root"),
                ("base/x.c", "../base/grape.h", "write it from the root"),
                ("broker/x.c", "tests/sim/sim.h", "not from outside the floors")):
            with self.subTest(path=path, include=include):
                self.assert_finds(floors.findings, path, f'\n#include "{include}"\n',
                                  (f"{path}:2: ", end))
                os.remove(os.path.join(self.root, path))


class Banned(Tree):
    def test_clean(self):
        self.assertEqual(list(banned.findings(self.root, {})), [])

    def assert_banned(self, path, code, name, replacement):
        with self.subTest(path=path, code=code):
            self.assert_finds(lambda root: banned.findings(root, {}), path,
                              f"void f(void)\n{{\n    {code};\n}}\n",
                              (f"{path}:3: {name} is banned here; use ", replacement))
            os.remove(os.path.join(self.root, path))

    def test_every_banned_name(self):
        for rules, path in ((banned.UNSAFE, "broker/x.c"), (banned.MEMORY, "broker/x.c"),
                            (banned.OUTSIDE, "proto/x.c"), (banned.LOCKS, "broker/x.c")):
            for replacement, names in rules.items():
                for name in names.split():
                    name = name.replace(r"(?:mutex|rwlock|spin|cond)", "mutex")
                    name = name.replace(r"(?:mutex|rwlock|cond|sem)", "sem").replace(r"\w+", "init")
                    use = f"f({name})" if name in banned.NOT_CALLED else f"(void){name}(1)"
                    self.assert_banned(path, use, name, replacement)

    def test_every_floor(self):
        for folder in tree.PRODUCT + ("base/io", "cluster/link"):
            self.assert_banned(f"{folder}/x.c", "free(x)", "free", "gv_free")
            self.assert_banned(f"{folder}/x.h", "strcpy (a, b)", "strcpy", "snprintf")
        for folder in ("base", "proto", "proto/mqtt", "cluster/core", "broker/core"):
            self.assert_banned(f"{folder}/x.c", 'return getenv("HOME")', "getenv", "handed in")
        for folder in ("cluster", "cluster/core", "broker", "broker/net"):
            self.assert_banned(f"{folder}/x.c", "uv_mutex_lock(&m)", "uv_mutex_lock", "a ")

    def test_headers_of_the_outside(self):
        for header in ("unistd.h", "time.h", "pthread.h", "sys/socket.h", "uv.h", "openssl/ssl.h",
                       "lmdb.h", "urcu.h", "some/new/thing.h"):
            with self.subTest(header=header):
                self.assert_finds(lambda root: banned.findings(root, {}), "broker/core/x.h",
                                  f"#pragma once\n#include <{header}>\n",
                                  (f"broker/core/x.h:2: <{header}> is banned here", "a port"))

    def test_two_on_a_line_and_after_comments(self):
        self.plant("broker/x.c", 'char *s = "a\\\nb"; /* one\ntwo */ free(strdup(s)); // free(s)\n')
        found = list(banned.findings(self.root, {}))
        self.assertEqual([line.split(" ")[:2] for line in found],
                         [["broker/x.c:3:", "free"], ["broker/x.c:3:", "strdup"]])

    def test_exceptions(self):
        allowed = {("proto/x.c", "fprintf"): "a reason", ("proto/x.c", "<time.h>"): "a reason",
                   ("proto/not_there.c", "free"): "a reason"}
        self.plant("proto/x.c", "#include <time.h>\n\nvoid f(void)\n{\n    fprintf(f, 1);\n}\n")
        self.assertEqual(list(banned.findings(self.root, allowed)), [])
        self.assert_finds(lambda root: banned.findings(root, allowed), "proto/x.c",
                          "#include <time.h>\n", ("proto/x.c:1: ", "fprintf"))

    def test_exceptions_have_reasons(self):
        for where, reason in banned.ALLOWED.items():
            self.assertGreater(len(reason), 10, where)


class Registered(Tree):
    def test_clean(self):
        self.assertEqual(list(registered.findings(self.root, {})), [])

    def test_a_unit_without_a_test(self):
        for folder in tree.PRODUCT + ("base/io", "proto/mqtt", "broker/core"):
            with self.subTest(folder=folder):
                path = f"{folder}/lonely.c"
                self.assert_finds(lambda root: registered.findings(root, {}), path, "\n",
                                  (f"{path}:1: ", f"tests/unit/{folder}/lonely_test.c"))
                self.assertEqual(list(registered.findings(self.root, {path: "a reason"})), [])
                os.remove(os.path.join(self.root, path))

    def test_a_reason_that_is_not_needed(self):
        found = list(registered.findings(self.root, {"base/grape.c": "a reason"}))
        self.assertEqual(len(found), 1, found)
        self.assertIn("take it out", found[0])

    def test_a_test_of_nothing(self):
        self.assert_finds(lambda root: registered.findings(root, {}),
                          "tests/unit/base/gone_test.c", "int main(void);\n",
                          ("tests/unit/base/gone_test.c:1: ", "there is no base/gone.c"))

    def test_a_file_that_is_not_built(self):
        self.assert_finds(lambda root: registered.findings(root, {}),
                          "tests/unit/base/grape_tests.c", "int main(void);\n",
                          ("tests/unit/base/grape_tests.c:1: ", "_test.c"))

    def test_a_test_that_is_not_added(self):
        text = CLEAN["tests/unit/base/grape_test.c"].replace(
            "tcase_add_test(tc, it_is_sweet);", "/* tcase_add_test(tc, it_is_sweet); */")
        self.assert_finds(lambda root: registered.findings(root, {}),
                          "tests/unit/base/grape_test.c", text,
                          ("tests/unit/base/grape_test.c:3: ", "it_is_sweet is not added"))


class Run(Tree):
    def run_it(self):
        result = subprocess.run([os.path.join(HERE, "run"), self.root], capture_output=True,
                                text=True, check=False)
        self.assertEqual(result.stderr, "")
        return result.returncode, result.stdout.splitlines()

    def setUp(self):
        super().setUp()
        shutil.copy(os.path.join(HERE, "..", "..", ".clang-format"), self.root)
        for path in tree.files(self.root, tree.PRODUCT + ("tests",), (".c", ".h")):
            subprocess.run(["clang-format-14", "-i", path], cwd=self.root, check=True)

    def test_clean(self):
        self.assertEqual(self.run_it(), (0, ["lint: 0 findings"]))

    def test_one_of_each(self):
        self.plant("broker/x.c", '#include "cli/sample.h"\n')
        self.plant("tests/unit/broker/x_test.c", "int main(void)\n{\n    return 0;\n}\n")
        self.plant("cli/sample.c", "void f(void)\n{\n    free(x);\n}\n")
        self.plant("cli/alone.c", "int x;\n")
        self.plant("tests/sim/sim.c", "int  x;\nint y;\nint  z;\n")
        status, lines = self.run_it()
        self.assertEqual(status, 1)
        self.assertEqual([line.split(" ")[0] for line in lines],
                         ["broker/x.c:1:", "cli/sample.c:3:", "cli/alone.c:1:", "tests/sim/sim.c:1:",
                          "lint:"])
        self.assertIn("not formatted (2 places)", lines[3])
        self.assertEqual(lines[-1], "lint: 4 findings")

    def test_in_git_only_tracked_files_are_formatted(self):
        subprocess.run(["git", "init", "-q", self.root], check=True)
        self.plant("tests/sim/sim.c", "int  x;\n")
        self.assertEqual(self.run_it(), (0, ["lint: 0 findings"]))
        subprocess.run(["git", "-C", self.root, "add", "tests/sim/sim.c"], check=True)
        self.assertEqual(self.run_it()[0], 1)


if __name__ == "__main__":
    unittest.main()
