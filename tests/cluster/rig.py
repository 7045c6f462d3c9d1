# SPDX-License-Identifier: Apache-2.0
"""Clusters for the tests of this folder, on loopback or in network namespaces, and what they say.

Builds on tests/harness.py.  Measured figures are printed as `# ...`; GRAPEVINE_LONG=1 runs the long
variants too.
"""
import contextlib
import http.client
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import PATIENCE, SUBACK_WAITS, Failure, Node, Skip, check, patient, wait_for  # noqa: E402
import netns  # noqa: E402

# A node that has no time is taken for dead after two and a half seconds, and then messages for it are
# not waited for.  Sanitizers on a busy machine make nodes that slow.
DEAD_AFTER_MS = int(2500 * max(1, PATIENCE / 2.5))
SETTINGS = {**SUBACK_WAITS, "cluster.dead_after_ms": DEAD_AFTER_MS}

MIB = 1 << 20
LONG = os.environ.get("GRAPEVINE_LONG", "") not in ("", "0")


def long_only():
    if not LONG:
        raise Skip("long: set GRAPEVINE_LONG=1")


def figure(text):
    print(f"# {text}")


def eventually(condition, seconds, what):
    """wait_for() with a text that is made when it is needed."""
    try:
        return wait_for(condition, patient(seconds), "")
    except Failure:
        raise Failure(f"not within {patient(seconds):g} s: {what()}") from None


class Member(Node):
    """A node of a cluster, perhaps in a network namespace; clients are on its loopback device.  Or on
    a disk of its own (tests/disk/small_disk.py)."""

    def __init__(self, name, settings, network=None, disk=None):
        self.namespace, self.host = None, "127.0.0.1"
        if network is not None:
            self.namespace, self.host = network.namespace(name), network.addresses[name]
        launcher = ["ip", "netns", "exec", self.namespace] if network is not None else []
        place = {}
        if disk is not None:
            launcher, place = disk.launcher, {"data": os.path.join(disk.path, "data")}
        super().__init__(name, cluster=True, settings={**SETTINGS, **settings},
                         launcher=launcher, **place)

    @property
    def cluster_address(self):
        return f"{self.host}:{self.cluster_port}"

    def connect(self, port, timeout=10):
        return netns.connect(self.namespace, ("127.0.0.1", port), timeout)

    def http(self, path, method="GET", body=None, headers=None, seconds=5):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port)
        try:
            connection.sock = self.connect(self.admin_port, patient(seconds))
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def peers(self):
        """Its view of the nodes, itself included, by name; empty while it does not answer."""
        try:
            return {row["node"]: row for row in self.api("/api/v1/nodes")["data"]}
        except (OSError, http.client.HTTPException):
            return {}

    def sees_alive_and_linked(self, others):
        peers = self.peers()
        return all(other is self or (other.name in peers and
                                     peers[other.name]["node_status"] == "alive" and
                                     peers[other.name]["link_up"]) for other in others)

    def table_of(self, other):
        """(version, hash) of its copy of another node's routes, or of its own."""
        for row in self.api("/api/v1/cluster")["nodes"]:
            if row["node"] == self.name:
                for view in row["views"]:
                    if view["node"] == other.name:
                        return view["table_version"], view["table_hash"]
        return None

    def counter(self, name):
        return self.api("/api/v1/status")["counters"][name]

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_bytes(self):
        """Resident memory; always the same where a sanitizer's shadow makes it meaningless."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            sizes = dict(re.findall(r"(VmSize|VmRSS):\s+(\d+) kB", status.read()))
        return int(sizes["VmRSS"]) * 1024 if int(sizes["VmSize"]) < 1 << 32 else 1


@contextlib.contextmanager
def cluster(count=3, network=None, settings=None, settings_of=None, disks=None):
    """`count` members n1, n2, ..., linked and synced; afterwards each has to end cleanly.

    `settings_of` and `disks` are for single ones, by name.
    """
    settings = {"cluster.secret": "x", **(settings or {})}
    settings_of, disks = settings_of or {}, disks or {}
    members = [Member(name, {**settings, **settings_of.get(name, {})}, network, disks.get(name))
               for name in (f"n{i + 1}" for i in range(count))]
    for member in members:
        member.seeds = [other.cluster_address for other in members if other is not member]
    for member in members:
        member.start(wait=False)
    for member in members:
        member.wait_ready()
    wait_whole(members)
    yield members
    for member in members:
        if member.is_running():
            member.stop()


@contextlib.contextmanager
def machines(count=3, settings=None):
    """A cluster on machines of its own: (network, members)."""
    network = netns.Network([f"n{i + 1}" for i in range(count)])
    with cluster(count, network, settings) as members:
        yield network, members


# ---- waiting ------------------------------------------------------------------------------------


def describe(members):
    def words(row):
        return (f"{row['node']}:{row['node_status']}" + ("" if row["link_up"] else " no link") +
                ("" if row["reachable"] else " unreachable") +
                (f" via {row['relay']}" if row["relay"] else "") + f" {row['routes']} routes")
    return "; ".join(f"{m.name} sees " + ", ".join(
        words(row) for name, row in sorted(m.peers().items()) if name != m.name)
                     for m in members if m.is_running())


def wait_whole(members, seconds=15):
    """Each is linked to each and has its routes; how long it took."""
    begun = time.monotonic()
    eventually(lambda: all(m.sees_alive_and_linked(members) and m.is_ready() for m in members),
               seconds, lambda: f"one whole cluster: {describe(members)}")
    return time.monotonic() - begun


def wait_routes(members, counts, seconds=10):
    """Until each of the members knows as many routes of each node as `counts[name]` says."""
    def same():
        for member in members:
            peers = member.peers()
            if any(peers.get(name, {}).get("routes") != count for name, count in counts.items()
                   if name != member.name):
                return False
        return True
    begun = time.monotonic()
    eventually(same, seconds, lambda: f"routes {counts}: {describe(members)}")
    return time.monotonic() - begun


def wait_tables(members, seconds=10):
    """Until each has the same version of each one's routes as that one itself; how long it took."""
    def same():
        own = {owner.name: owner.table_of(owner) for owner in members}
        return all(viewer.table_of(owner) == own[owner.name]
                   for viewer in members for owner in members)
    begun = time.monotonic()
    eventually(same, seconds, lambda: f"equal tables: {describe(members)}")
    return time.monotonic() - begun


# ---- memory -------------------------------------------------------------------------------------

# Buffers and parcels that a node has made stay with it for the next time, up to a number of them;
# among the others are the buffers of links, which stay as large as they were once needed.
KINDS_MORE = {"output": 4 * MIB, "parcels": 4 * MIB, "other": 256 * 1024}
# Of any other kind; $SYS topics, for one, come with time, and are not always the same text.
KIND_MORE = 64 * 1024


class Levels:
    """What a node counts itself, by kind, compared with what it did at first."""

    def __init__(self, node):
        self.node = node
        self._first = self._kinds()

    def _kinds(self):
        return self.node.api("/api/v1/status")["memory"]["by_kind"]

    def above(self):
        """Kinds of which there is more than before: {kind: (bytes at first, bytes now)}."""
        return {kind: (self._first[kind], now) for kind, now in self._kinds().items()
                if now > self._first[kind] + KINDS_MORE.get(kind, KIND_MORE)}

    def wait_back(self, when, seconds=10):
        """Until there is as much as at first, or less."""
        eventually(lambda: not self.above(), seconds,
                   lambda: f"{self.node} uses what it did before, {when}: {self.above()}")


# ---- views --------------------------------------------------------------------------------------


class Watcher:
    """Notes when a node's view of another changes: [(time, row)], polled every 20 ms."""

    def __init__(self, viewer, seen):
        self.viewer, self.seen = viewer, seen
        self.changes = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        last = None
        while not self._ended.is_set():
            row = self.viewer.peers().get(self.seen.name)
            if row is not None:
                now = [row[key] for key in ("node_status", "link_up", "reachable", "incarnation")]
                if now != last:
                    self.changes.append((time.monotonic(), row))
                    last = now
            self._ended.wait(0.02)

    def _first(self, condition, after):
        return next((at - after for at, row in list(self.changes)
                     if at >= after and condition(row)), None)

    def wait(self, condition, after, seconds, what):
        """Seconds from `after` to the first view like that."""
        eventually(lambda: self._first(condition, after) is not None, seconds,
                   lambda: f"{self.viewer.name} sees {self.seen.name} {what}; it saw " + ", ".join(
                       f"{row['node_status']} at {at - after:.2f} s" for at, row in self.changes))
        return self._first(condition, after)

    def wait_state(self, state, after, seconds):
        return self.wait(lambda row: row["node_status"] == state, after, seconds, state)

    def end(self):
        self._ended.set()
        self._thread.join()
