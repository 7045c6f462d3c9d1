# SPDX-License-Identifier: Apache-2.0
"""
What the files of this folder have in common: tests that name the statements they test, one broker
for a file, many tests at a time.

    suite = Suite("publish")

    @suite.test(v5="3.3.1-4", v311="3.3.1-4")
    def qos_3_closes(t):
        t.connected().send(...)

A test runs once for each protocol version it names statements of (or for `versions`).  `t` is a
Case: it has the version, makes clients and closes them.  A statement's id is its number in the
standard without "MQTT-"; those beginning with S are sections without a numbered statement
(statements/*.tsv has all of them).

Arguments of every file: parts of names of the tests to run; --broker HOST:PORT runs against a
broker that is there already; --statements prints which statement is tested where.
"""

import argparse
import concurrent.futures
import pathlib
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import client as raw
import harness
import packets as mqtt
from harness import Skip, patient, surely
from packets import V5, V31, V311

VERSION_NAMES = {V31: "v31", V311: "v311", V5: "v5"}
AT_A_TIME = 24


class Case:
    """One run of one test."""

    def __init__(self, suite, version):
        self.suite, self.version, self.address = suite, version, suite.address
        self._clients = []

    @property
    def is_v5(self):
        return self.version >= V5

    def node(self):
        """Our node; skips the test when it is somebody else's broker."""
        if self.suite.node is None:
            raise Skip("needs a node of its own")
        return self.suite.node

    def topic(self, *levels):
        """A topic of this test alone."""
        return "/".join([raw.unique("topic"), *levels])

    def client(self, client_id=None, version=None, **options):
        """A TCP connection, nothing sent."""
        new = self.suite.make_client(self.address, self.version if version is None else version,
                                     client_id, **options)
        self._clients.append(new)
        return new

    def connected(self, client_id=None, version=None, **options):
        """A client that has had its CONNACK, in `connack`."""
        new = self.client(client_id, version)
        new.connack = new.connect(**options)
        return new

    def persistent(self, client_id=None, clean=False, expiry=300, version=None, properties=None,
                   **options):
        """A client whose session outlives the connection."""
        version = self.version if version is None else version
        if version >= V5:
            properties = {"session_expiry": expiry, **(properties or {})}
        return self.connected(client_id, version, clean=clean, properties=properties, **options)

    def refused(self, packet, *reasons):
        """Sends `packet` on a new connection that had its CONNACK: it has to be closed."""
        c = self.connected()
        c.send(packet)
        return c.expect_close(*reasons)

    def connect_refused(self, packet, *reasons):
        """Sends `packet` as the first one: no success, and the end."""
        c = self.client()
        c.send(packet)
        told = c.expect_close(*reasons)
        wrong = [p for p in c.got if p.kind == mqtt.DISCONNECT]
        if wrong:
            raise raw.Unexpected(f"[MQTT-3.14.0-1] {wrong} before CONNACK")
        return told

    def code_for(self, text):
        """The code in SUBACK for this filter; None if the connection was closed for it."""
        c = self.connected()
        c.send(mqtt.subscribe(self.version, 1, [(text, 0)]))
        try:
            packet = c.receive()
        except raw.Closed:
            return None
        return None if packet.kind == mqtt.DISCONNECT else packet.codes[0]

    def end(self):
        for c in self._clients:
            c.cut()


def equal(got, wanted, what=""):
    if got != wanted:
        raise raw.Unexpected(f"{what}: got {got!r}, expected {wanted!r}")


def check(condition, why):
    if not condition:
        raise raw.Unexpected(why)


def as_list(value):
    return [value] if isinstance(value, str) else list(value)


def gathered(clients, count):
    """What of `count` messages comes to each of the clients, acknowledged; not one more comes."""
    shares = [[] for _ in clients]
    deadline = time.monotonic() + raw.TIMEOUT_S
    while sum(map(len, shares)) < count:
        check(time.monotonic() < deadline, f"{sum(map(len, shares))} of {count} messages came")
        for one, share in zip(clients, shares):
            while (packet := one.receive(0.01)) is not None:
                share.append(one.acknowledge(packet))
    for one in clients:
        one.expect_nothing()
    return shares


class Suite:
    """`settings` and `scheme` are the node's; `client` makes the connections of its tests."""

    def __init__(self, area, settings=None, scheme="tcp", client=raw.Client):
        self.area, self.settings, self.scheme = area, settings or {}, scheme
        self.make_client = client
        self.tests, self.statements = [], []
        self.node = self.address = None

    def test(self, v5=(), v311=(), versions=None, alone=False):
        """`alone`: runs after the others and by itself, because it disturbs or measures."""
        v5, v311 = as_list(v5), as_list(v311)
        if versions is None:
            versions = ([V311] if v311 else []) + ([V5] if v5 else [])

        def add(function):
            self.tests += [(function, version, alone) for version in versions]
            self.statements += [("v5", s, function.__name__) for s in v5]
            self.statements += [("v311", s, function.__name__) for s in v311]
            return function
        return add

    def _run_one(self, function, version):
        name = f"{self.area}.{function.__name__}[{VERSION_NAMES[version]}]"
        case = Case(self, version)
        begun = time.monotonic()
        try:
            function(case)
            line = f"ok {name}"
        except Skip as why:
            line = f"skip {name}: {why}"
        except Exception as error:  # whatever went wrong, the test did not pass
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            where = traceback.extract_tb(error.__traceback__)
            at = next((f.lineno for f in where if f.filename == function.__code__.co_filename), 0)
            line = f"not ok {name}: line {at}: {type(error).__name__}: {error}"
        finally:
            case.end()
        seconds = time.monotonic() - begun
        slow = f"  # {seconds:.1f} s" if seconds > 5 else ""
        sys.stdout.write(f"{line[:600]}{slow}\n")  # one write: other threads write too
        sys.stdout.flush()
        return not line.startswith("not ok")

    def _run(self, parts):
        chosen = [t for t in self.tests
                  if not parts or any(part in t[0].__name__ for part in parts)]
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            good = list(pool.map(lambda t: self._run_one(t[0], t[1]),
                                 [t for t in chosen if not t[2]]))
        good += [self._run_one(t[0], t[1]) for t in chosen if t[2]]
        return good.count(False)

    def main(self):
        parser = argparse.ArgumentParser()
        parser.add_argument("parts", nargs="*", help="parts of names of tests")
        parser.add_argument("--broker", help="HOST:PORT of a broker that is running")
        parser.add_argument("--statements", action="store_true", help="print what is tested where")
        options = parser.parse_args()
        if options.statements:
            for version, statement, test in self.statements:
                print(version, statement, f"{self.area}.{test}", sep="\t")
            sys.exit(0)
        if options.broker:
            host, _, port = options.broker.rpartition(":")
            self.address = (host, int(port))
            sys.exit(1 if self._run(options.parts) else 0)

        # The harness sees one case: a node that has to get well through all of it.
        def on_a_node():
            self.node = harness.Node(settings=self.settings)
            self.node.listen = [f"{self.scheme}://127.0.0.1:{self.node.port}"]
            self.node.start()
            self.address = ("127.0.0.1", self.node.port)
            failed = self._run(options.parts)
            self.node.stop()
            harness.check(failed == 0, f"{failed} tests failed")
        on_a_node.__name__ = f"{self.area}.on_one_node"
        harness.case_of(seconds=300)(on_a_node)
        del sys.argv[1:]
        harness.main()
