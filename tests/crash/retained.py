# SPDX-License-Identifier: Apache-2.0
"""What is kept of retained messages: what was acknowledged last, or something newer."""
import collections

import packets as mqtt
from device import Device
from harness import patient
from packets import V5

QUIET_SECONDS = 0.05
LOOKS_MAX = int(patient(60))


class Kept:
    """The versions of each topic of a filter, in the order they were sent.

    Each topic has one publisher, which sends and repeats in order: of versions without an
    acknowledgement any may be kept, of those with one only the last.
    """

    def __init__(self, ledger):
        self._ledger = ledger
        self._versions = collections.defaultdict(list)

    def add(self, message):
        self._versions[message.topic].append(message)

    def possible(self):
        """topic: (its versions, the index of the first that may still be kept, or -1)."""
        return {topic: (versions, max((i for i, one in enumerate(versions)
                                       if one.acknowledged is not None), default=-1))
                for topic, versions in self._versions.items()}

    def forget(self):
        for versions in self._versions.values():
            del versions[:-1]


class RetainedReader(Device):
    """A new client that subscribes and compares what is kept with what may be."""

    def __init__(self, site, name, topic_filter, kept):
        super().__init__(site, name, V5, clean=True)
        self._topic_filter, self._kept = topic_filter, kept
        self._found = {}
        self._possible = {}
        self.is_done = False

    def begin(self):
        self._found.clear()
        self._possible = self._kept.possible()
        self.send(mqtt.subscribe(self.version, 1, [(self._topic_filter, 0)]))

    def on_packet(self, packet):
        if packet.kind == mqtt.SUBACK:
            self._look_after(LOOKS_MAX)
        elif packet.kind == mqtt.PUBLISH and packet.retain:
            self._found[packet.topic] = packet

    def _look_after(self, looks_left):
        """Looks until everything that must be there has come, and nothing else."""
        connection = self.connections
        self.site.loop.after(QUIET_SECONDS, lambda: self._look(connection, looks_left))

    def _look(self, connection, looks_left):
        if connection != self.connections or not self.is_online:
            return
        wrong = [topic for topic in self._possible if not self._is_right(topic)]
        if wrong and looks_left:
            self._look_after(looks_left - 1)
            return
        for topic in wrong:
            self._complain(topic)
        self.site.counts["retained read"] += len(self._found)
        self.is_done = True
        self.leave()

    def _is_right(self, topic):
        versions, first = self._possible[topic]
        packet = self._found.get(topic)
        if packet is None:
            return first < 0 or any(one.size == 0 for one in versions[first:])
        return any(one.size and one.payload == packet.payload for one in versions[max(first, 0):])

    def _complain(self, topic):
        versions, first = self._possible[topic]
        packet = self._found.get(topic)
        got = f"{packet.payload[:30]}" if packet is not None else "nothing"
        self.violation(f"retained on {topic} is {got}, acknowledged last was "
                       f"{versions[first]}", *versions[max(first, 0):][:3])
