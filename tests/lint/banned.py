#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Banned calls and headers, with what to use instead.

Four sets of rules: string and conversion calls that cannot be used safely; the malloc family, which
belongs to base/alloc.c; locks in broker/ and cluster/; and everything that reaches outside the
process in sans-I/O code.  An exception stands in ALLOWED with its reason; one that is no longer used
is a finding too.  tests/ is free.
Run:  tests/lint/banned.py [root]      Exit status 1 and one line per finding.
"""
import re
import sys

import tree

# (path, name of the call or header): why it is right there.
ALLOWED = {
    ("base/alloc.c", "malloc"): "this is where memory comes from",
    ("base/alloc.c", "calloc"): "this is where memory comes from",
    ("base/alloc.c", "realloc"): "this is where memory comes from",
    ("base/alloc.c", "free"): "this is where memory comes from",
    ("base/alloc.c", "<malloc.h>"): "malloc_usable_size() looks at a block, no more",
    ("base/alloc.c", "fprintf"): "last words before abort()",
    ("base/alloc.c", "stderr"): "last words before abort()",
    ("base/err.c", "fprintf"): "last words before abort()",
    ("base/err.c", "stderr"): "last words before abort()",
    ("base/log.c", "fwrite"): "the default sink; the node installs another",
    ("base/log.c", "stderr"): "the default sink; the node installs another",
    ("base/bytes.c", "<xxhash.h>"): "a pure function",
    ("base/crypto.c", "<openssl/core_names.h>"): "pure functions",
    ("base/crypto.c", "<openssl/crypto.h>"): "pure functions",
    ("base/crypto.c", "<openssl/evp.h>"): "pure functions",
    ("base/crypto.c", "<openssl/params.h>"): "pure functions",
    ("base/hostport.c", "<arpa/inet.h>"): "inet_pton() is a pure function",
    ("proto/proxy/proxy.c", "<arpa/inet.h>"): "inet_pton() is a pure function",
}

UNSAFE = {
    "a gv_writer_t (base/bytes.h) or snprintf":
        "strcpy strncpy stpcpy stpncpy strcat strncat sprintf vsprintf",
    "a gv_reader_t (base/bytes.h) or strtok_r": "strtok strsep",
    "strtoul and friends, with the end and the range checked": "atoi atol atoll atof",
    "fgets": "gets",
    "gv_xalloc": "alloca",
    "a gv_rng_t (base/rng.h), or gv_os_random() for secrets":
        "rand srand rand_r random srandom drand48 lrand48 mrand48",
    "a gv_clock_t (base/clock.h)": "time ftime",
    "the _r variant": "localtime gmtime ctime asctime gethostbyname",
    "mkstemp": "tmpnam tempnam mktemp",
    "sigaction": "signal",
    "posix_spawn": "system popen",
}
MEMORY = {
    "gv_xalloc, gv_xcalloc or gv_try_alloc (base/alloc.h)":
        "malloc calloc aligned_alloc memalign posix_memalign valloc",
    "gv_xrealloc or gv_try_realloc (base/alloc.h)": "realloc reallocarray",
    "gv_xstrdup (base/alloc.h)": "strdup strndup strdupa strndupa asprintf vasprintf",
    "gv_free (base/alloc.h)": "free",
}
LOCKS = {
    "a letter to the owning loop (base/io/mailbox.h)":
        r"pthread_(?:mutex|rwlock|spin|cond)_\w+ uv_(?:mutex|rwlock|cond|sem)_\w+ mtx_\w+ cnd_\w+",
}
# Only what the headers below declare, and what may come in by a side door: all else cannot be
# called without including its header, and that is a finding by itself.
OUTSIDE = {
    "a port: the clock is handed in (base/clock.h)":
        "time clock clock_gettime gettimeofday nanosleep usleep sleep localtime_r gmtime_r mktime",
    "a port: randomness is handed in (base/rng.h)":
        "rand rand_r random srandom getrandom getentropy arc4random drand48",
    "a port: configuration is handed in": "getenv secure_getenv setenv putenv",
    "gv_log_... (base/log.h)":
        "printf vprintf fprintf vfprintf dprintf puts putchar putc fputs fputc fwrite perror "
        "stdout stderr",
    "a port: sans-I/O code makes no system call":
        r"fopen fdopen freopen fclose fread fgets fgetc getline getc getchar scanf fscanf fflush "
        r"remove rename tmpfile mkstemp realpath stdin system popen syscall exit _exit atexit "
        r"raise kill fork pthread_\w+ thrd_\w+ uv_\w+",
}
SANS_IO_HEADERS = set("""
    ctype.h errno.h float.h inttypes.h limits.h math.h stdalign.h stdarg.h stdatomic.h stdbool.h
    stddef.h stdint.h stdio.h stdlib.h string.h strings.h protobuf-c/protobuf-c.h
""".split())
# Names that are banned as they stand; all others only where they are called.
NOT_CALLED = {"stdin", "stdout", "stderr"}


def matcher(rules):
    """One expression for a set of rules, and a function from the name found to its replacement."""
    pairs = [(name, use) for use, names in rules.items() for name in names.split()]
    calls = "|".join(name for name, _ in pairs if name not in NOT_CALLED)
    names = "|".join(name for name, _ in pairs if name in NOT_CALLED)
    pattern = rf"(?<![\w.])(?<!->)({calls})\s*\("
    if names:
        pattern += rf"|\b({names})\b"
    return re.compile(pattern), lambda found: next(
        use for name, use in pairs if re.fullmatch(name, found))


UNSAFE_CALL, MEMORY_CALL = matcher(UNSAFE), matcher(MEMORY)
LOCK_CALL, OUTSIDE_CALL = matcher(LOCKS), matcher(OUTSIDE)


def rules_for(path):
    if tree.is_sans_io(path):
        yield OUTSIDE_CALL
    yield UNSAFE_CALL
    yield MEMORY_CALL
    if tree.is_below(path, "broker") or tree.is_below(path, "cluster"):
        yield LOCK_CALL


def uses(root, path):
    """Yields (line number, name, what to use instead), the first rule that matches at a place."""
    text = tree.read(root, path)
    if tree.is_sans_io(path):
        for number, kind, name in tree.includes(text):
            if kind == "<" and name not in SANS_IO_HEADERS:
                yield number, f"<{name}>", "a port: sans-I/O code makes no system call"
    for number, line in enumerate(tree.code_only(text).splitlines(), 1):
        seen = set()
        for pattern, replacement in rules_for(path):
            for match in pattern.finditer(line):
                name = match[match.lastindex]
                if match.start() not in seen:
                    seen.add(match.start())
                    yield number, name, replacement(name)


def findings(root, allowed=None):
    allowed = ALLOWED if allowed is None else allowed
    for path in tree.files(root, tree.PRODUCT, (".c", ".h")):
        needed = set()
        for number, name, replacement in uses(root, path):
            if (path, name) in allowed:
                needed.add(name)
            else:
                yield f"{path}:{number}: {name} is banned here; use {replacement}"
        for name in sorted(name for where, name in allowed if where == path):
            if name not in needed:
                yield f"{path}:1: the exception for {name} in tests/lint/banned.py is not used"


if __name__ == "__main__":
    sys.exit(tree.main(findings, sys.argv))
