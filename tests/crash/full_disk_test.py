#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""No room for more: what is new is refused, what was acknowledged is delivered, and work goes on when
there is room again.

Full is the configured size of the store, or the disk.  The disk is a small tmpfs, for which one has
to be root; skipped otherwise.
"""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

import packets as mqtt
from harness import (Node, Skip, at_end, case, check, check_equal, folder, main, patient,
                     wait_for)
from packets import V5, V311
from scene import connect, kill_and_start, payloads_of, sleeper, sleepers_apart, status, visitor

QUOTA_EXCEEDED = 0x97
WINDOW = 50
PAYLOAD = 4000
MESSAGES_MAX = 40000  # 160 MB, more than any store here takes


class Filler:
    """A publisher that writes down what of its messages was acknowledged."""

    def __init__(self, node, qos=1):
        self.client = connect(node)
        self.acknowledged, self.refused, self.sent = [], [], 0
        self._qos = qos

    def payload(self, number):
        return f"{number:06d} {self.client.client_id} ".encode().ljust(PAYLOAD, b".")

    def send(self):
        self.sent += 1
        self.client.send(mqtt.publish(self.client.version, "fill/x", self.payload(self.sent),
                                      self._qos, self.sent))

    def take_answer(self):
        """PUBACK or PUBREC of the oldest message without one; whether it was accepted."""
        number = len(self.acknowledged) + len(self.refused) + 1
        kind = mqtt.PUBACK if self._qos == 1 else mqtt.PUBREC
        answer = self._answer(kind)
        check_equal(answer.packet_id, number, "packet id of the answer")
        check(answer.reason in (0, QUOTA_EXCEEDED), f"answered with 0x{answer.reason:02x}")
        (self.refused if answer.reason else self.acknowledged).append(number)
        if self._qos == 2 and not answer.reason:
            self.client.ack(mqtt.PUBREL, number)
        return answer.reason == 0

    def _answer(self, kind):
        while True:
            packet = self.client.receive()
            check(packet is not None, "no answer")
            if packet.kind == kind:
                return packet
            check_equal(packet.kind, mqtt.PUBCOMP, "kind of packet")

    def fill(self):
        """Publishes until a message is refused."""
        before = len(self.refused)
        while len(self.refused) == before:
            check(self.sent < MESSAGES_MAX, "the store is never full")
            while self.sent < len(self.acknowledged) + len(self.refused) + WINDOW:
                self.send()
            self.take_answer()
        while self.sent > len(self.acknowledged) + len(self.refused):
            self.take_answer()

    def payloads(self):
        return [self.payload(number) for number in self.acknowledged]


class Patient:
    """A client before v5: what cannot be kept gets no answer, and it sends that again."""

    COUNT = 300

    def __init__(self, node):
        self._node = node
        self.client = connect(node, version=V311)
        self.acknowledged = set()

    def payload(self, number):
        return f"{number:06d} {self.client.client_id} ".encode().ljust(PAYLOAD, b".")

    def payloads(self):
        return [self.payload(number) for number in self.acknowledged]

    def send(self, dup=False):
        """Everything that has no answer yet, and takes the answers that come."""
        for number in range(1, self.COUNT + 1):
            if number not in self.acknowledged:
                self.client.send(mqtt.publish(V311, "fill/x", self.payload(number), 1, number,
                                              dup=dup))
        while (packet := self.client.receive(0.3)) is not None:
            check_equal(packet.kind, mqtt.PUBACK, "kind of packet")
            self.acknowledged.add(packet.packet_id)

    def send_again(self):
        """Over a new connection.  Whether all of it has been acknowledged by now."""
        self.client.cut()
        self.client = connect(self._node, self.client.client_id, V311)
        self.send(dup=True)
        return len(self.acknowledged) == self.COUNT


def check_is_full(node, filler, old):
    """Refusals for whom they concern, and nobody else."""
    filler.fill()
    old.send()
    check(len(old.acknowledged) < old.COUNT, "a client before v5 has everything acknowledged")
    old.client.ping()
    reader = visitor(node).subscribed("live", qos=1)
    visitor(node).publish("live", b"x", 1)
    reader.take("live", b"x")
    check(status(node, "counters", "store_refused_full_total") +
          status(node, "messages", "dropped").get("store_full", 0) > 0, "refusals are counted")


def check_has_all(node, client_id, fillers):
    """What was acknowledged has come, in order; what was refused may have."""
    least = sum(len(filler.payloads()) for filler in fillers)
    got = payloads_of(connect(node, client_id), least, patient(0.5))
    for filler in fillers:
        name = f" {filler.client.client_id} ".encode()
        own = [payload for payload in got if name in payload[:60]]
        missing = set(filler.payloads()) - set(own)
        check(not missing, f"{len(missing)} of {len(filler.acknowledged)} acknowledged messages "
              f"are missing, the first: {min(missing, default=b'')[:20]}; the last message that has "
              f"come: {own[-1][:20] if own else 'none'}")
        check(own == sorted(set(own)), "messages came twice or out of order")


def goes_on(filler):
    """A publish for a persistent session is accepted (again)."""
    filler.send()
    return filler.take_answer()


def full_and_free_again(node, kill):
    """The whole course on a node whose store is small."""
    first, second = sleepers_apart(node, "fill/#", qos=2)
    fillers = [Filler(node, 1), Filler(node, 2)]
    old = Patient(node)
    for filler in fillers:
        filler.fill()
    check_is_full(node, fillers[0], old)
    if kill:
        kill_and_start(node)
    check_has_all(node, first, [*fillers, old])
    check_has_all(node, second, [*fillers, old])
    if not kill:
        wait_for(lambda: goes_on(fillers[0]), patient(15), "work goes on")
    wait_for(old.send_again, patient(20), "the client before v5 has its answers")
    check(node.is_running(), "the node has ended")


SMALL = {"storage.map_size": "48MiB", "storage.reserve": "16MiB", "storage.ballast": 0,
         "storage.queue_bytes_max": "1GiB"}


@case
def the_configured_size_is_reached():
    full_and_free_again(Node(settings=SMALL).start(), kill=False)


@case
def killed_at_the_configured_size():
    full_and_free_again(Node(settings=SMALL).start(), kill=True)


def small_disk(megabytes):
    """A directory on a file system of its own that has so much room."""
    path = folder("disk")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path],
                           stderr=subprocess.PIPE, text=True, check=False)
    if mount.returncode != 0:
        raise Skip(f"no file system of one's own without being root: {mount.stderr.strip()}")
    at_end(lambda: subprocess.run(["umount", "-l", path], check=False))
    return path


ON_A_DISK = {"storage.reserve": "8MiB", "storage.ballast": "4MiB", "storage.queue_bytes_max": "1GiB"}


@case
def the_disk_is_full():
    node = Node(settings=ON_A_DISK, data=os.path.join(small_disk(48), "data"))
    full_and_free_again(node.start(), kill=False)


@case
def killed_with_a_full_disk():
    node = Node(settings=ON_A_DISK, data=os.path.join(small_disk(48), "data"))
    full_and_free_again(node.start(), kill=True)


@case
def others_fill_the_disk_and_make_room_again():
    """From one moment to the next there is no room left, below the node's own reserve too."""
    disk = small_disk(64)
    node = Node(settings=ON_A_DISK, data=os.path.join(disk, "data")).start()
    sleeping = sleeper(node, "fill/#", qos=2)
    filler, old = Filler(node), Patient(node)
    for _ in range(100):
        filler.send()
        filler.take_answer()
    other = os.path.join(disk, "other")
    with open(other, "wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 65536)
        except OSError:
            pass
    check_is_full(node, filler, old)
    os.unlink(other)
    wait_for(lambda: goes_on(filler), patient(10), "work goes on when there is room again")
    check_has_all(node, sleeping, [filler, old])


if __name__ == "__main__":
    main()
