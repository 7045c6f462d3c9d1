#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""More than somebody can take: memory stays bounded and the others do not notice."""
import threading
import time

from client import Client, end_streams, streams
from harness import Failure, case_of, check, main
from rig import MIB, Levels, cluster, eventually, figure, wait_tables, wait_whole

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


# Resident memory holds what the allocator has not given back: at least an eighth of
# node.memory_max, and what came and went between two looks of the node at itself.
MEMORY_MAX = 256 * MIB
RESIDENT_MORE = 96 * MIB
ROUND_MORE = 512 * 1024


def flood_and_end(nodes):
    n1, n2, _ = nodes
    readers = [Client(n2, keep=False) for _ in range(3)]
    for reader in readers:
        reader.subscribe("flood", qos=1)
    wait_tables(nodes)
    flood = Flood(n1, "flood", 1)
    time.sleep(1.5)
    flood.end()
    for reader in readers:
        reader.close()
    for node in (n1, n2):
        eventually(lambda node=node: node.api("/api/v1/status")["sessions"] == 0, 10,
                   lambda node=node: f"{node} has no sessions any more")
    return flood.sent


@case_of(seconds=120)
def memory_comes_back():
    """
    After floods and their ends a node uses what it did before: by its own account, which is exact.
    Resident memory is up to the allocator too: it is bounded, and does not grow each time.
    """
    with cluster(settings={"node.memory_max": f"{MEMORY_MAX // MIB}MiB"}) as nodes:
        sizes = {node: [] for node in nodes[:2]}
        levels = [Levels(node) for node in sizes]
        for number in range(8):
            sent = flood_and_end(nodes)
            check(sent > 100, f"{sent} messages are no flood")
            for level in levels:
                level.wait_back(f"after {number + 1} rounds")
            for node, of_node in sizes.items():
                of_node.append(node.memory_bytes())
        figure("resident after each round: " + "; ".join(
            f"{node} {' '.join(f'{size / MIB:.0f}' for size in of_node)} MiB"
            for node, of_node in sizes.items()))
        for node, of_node in sizes.items():
            check(max(of_node) < of_node[0] + RESIDENT_MORE, f"{node}: resident: {of_node} bytes")
            grown = [after - before for before, after in zip(of_node[1:], of_node[2:])]
            check(min(grown) < ROUND_MORE, f"{node}: resident, more each round: {of_node} bytes")


if __name__ == "__main__":
    main()
