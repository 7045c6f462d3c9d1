#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""More than somebody can take: memory stays bounded and the others do not notice."""
import threading
import time

from client import Client, end_streams, streams
from harness import Failure, case_of, check, main
from rig import cluster, eventually, figure, wait_tables, wait_whole

MIB = 1 << 20
PAYLOAD = b"x" * 16_000


class Flood:
    """Publishes 16 kB messages as fast as it may."""

    def __init__(self, node, topic, qos, window=100):
        self.client = Client(node, window=window)
        self.sent = 0
        self._topic, self._qos = topic, qos
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self):
        try:
            while not self._ended.is_set():
                self.client.publish(self._topic, PAYLOAD, self._qos)
                self.sent += 1
        except (Failure, OSError):
            pass

    def end(self):
        self._ended.set()
        self.client.close()
        self._thread.join(5)


class Peak:
    """The most memory the nodes used."""

    def __init__(self, nodes):
        self._nodes = nodes
        self._start = {node.name: node.memory_bytes() for node in nodes}
        self._peak = dict(self._start)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._ended.wait(0.05):
            for node in self._nodes:
                try:
                    self._peak[node.name] = max(self._peak[node.name], node.memory_bytes())
                except (OSError, KeyError):
                    return  # the case has failed, and its nodes are gone

    def end(self, label, bound):
        self._ended.set()
        self._thread.join()
        grown = {name: self._peak[name] - self._start[name] for name in self._peak}
        figure(f"{label}: most memory " +
               ", ".join(f"{name} +{size / MIB:.0f} MiB" for name, size in grown.items()))
        check(max(grown.values()) < bound, f"{label}: {max(grown.values()) / MIB:.0f} MiB more")


def reader_that_stops(qos):
    with cluster() as (n1, n2, n3):
        stuck = Client(n2, keep=False)
        stuck.subscribe("flood", qos=qos)
        between = streams([(n1, n2), (n2, n1), (n3, n2)])
        peak = Peak([n1, n2, n3])
        stuck.reads.clear()
        flood = Flood(n1, "flood", qos)
        time.sleep(6)
        figure(f"reader that stops, QoS {qos}: {flood.sent} messages of 16 kB were taken")
        stuck.reads.set()
        flood.end()
        # QoS 0 shares the link's credit with the flood, and is what is dropped when there is none.
        end_streams(between, f"reader that stops, QoS {qos}", pause_max=2, may_lose_qos_0=True)
        # The session's queue (64 MiB), its output, the link's window, and some for the loops.
        peak.end(f"reader that stops, QoS {qos}", 200 * MIB)


@case_of(seconds=120)
def reader_that_stops_at_qos_0():
    reader_that_stops(0)


@case_of(seconds=120)
def reader_that_stops_at_qos_1():
    reader_that_stops(1)


def node_that_stops(qos):
    with cluster() as nodes:
        n1, n2, n3 = nodes
        client = Client(n3, keep=False)
        client.subscribe("flood", qos=qos)
        between = streams([(n1, n2), (n2, n1)])
        peak = Peak([n1, n2])
        n3.pause()
        floods = [Flood(n1, "flood", qos, window=10_000) for _ in range(3)]
        time.sleep(2)
        peak.end(f"node that stops, QoS {qos}", 200 * MIB)
        figure(f"node that stops, QoS {qos}: {[flood.sent for flood in floods]} messages of 16 kB "
               f"sent, {n1.counter('cluster_qos0_dropped_total')} dropped at QoS 0")
        n3.cont()
        for flood in floods:
            flood.end()
        wait_whole(nodes)
        end_streams(between, f"node that stops, QoS {qos}", pause_max=2, may_lose_qos_0=True)


@case_of(seconds=120)
def node_that_stops_at_qos_0():
    node_that_stops(0)


@case_of(seconds=120)
def node_that_stops_at_qos_1():
    node_that_stops(1)


@case_of(seconds=120)
def memory_comes_back():
    """After floods and their ends a node uses about what it did after the first."""
    with cluster() as nodes:
        n1, n2, _ = nodes
        sizes = []
        for _ in range(5):
            readers = [Client(n2, keep=False) for _ in range(3)]
            for reader in readers:
                reader.subscribe("flood", qos=1)
            wait_tables(nodes)
            flood = Flood(n1, "flood", 1)
            time.sleep(1.5)
            flood.end()
            for reader in readers:
                reader.close()
            eventually(lambda: n2.api("/api/v1/status")["sessions"] == 0, 10,
                       lambda: "the sessions have gone")
            sizes.append((n1.memory_bytes(), n2.memory_bytes()))
        figure("after each round, n1 and n2: " +
               " ".join(f"{a / MIB:.0f}/{b / MIB:.0f}" for a, b in sizes) + " MiB")
        for before, after in zip(sizes[1], sizes[-1]):
            check(after < before * 1.5 + 8 * MIB, f"{before} bytes after two rounds, {after} after five")


if __name__ == "__main__":
    main()
