#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node without room for messages that come from another one: their publishers are told, by their own
node; nothing is lost of what was acknowledged; and work goes on when there is room again."""
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "disk"))

from client import Client
from harness import case, check, check_equal, main, patient, wait_for
from rig import cluster, eventually, figure, wait_routes, wait_whole
from small_disk import SmallDisk

QUOTA_EXCEEDED = 0x97
WINDOW = 50
PAYLOAD = 8000
MESSAGES_MAX = 20000  # 160 MB, more than any store here takes


class Filler:
    """A publisher of numbered messages that knows which of them were acknowledged."""

    def __init__(self, node, qos):
        self.name, self.qos = f"filler-{node.name}-{qos}", qos
        self.client = Client(node, version=5)
        self.acknowledged, self.refused, self._sent = [], [], 0

    def _payload(self, number):
        return f"{number:06d} {self.name} ".encode().ljust(PAYLOAD, b".")

    def send(self, count):
        """How many of so many were refused."""
        pending = []
        for _ in range(count):
            pending.append((self._sent, self.client.publish("fill/x", self._payload(self._sent),
                                                            self.qos)))
            self._sent += 1
        before = len(self.refused)
        for number, publish in pending:
            answer = publish.wait(30)
            reason = answer[0] if answer else 0
            check(reason in (0, QUOTA_EXCEEDED), f"answered with 0x{reason:02x}")
            (self.refused if reason else self.acknowledged).append(number)
        return len(self.refused) - before

    def check_is_in(self, messages, once):
        name = f" {self.name} ".encode()
        got = [int(m.payload[:6]) for m in messages if name in m.payload[:60]]
        missing = sorted(set(self.acknowledged) - set(got))
        check(not missing, f"{self.name}: {len(missing)} of {len(self.acknowledged)} acknowledged "
              f"messages are missing, first {missing[:5]}")
        check(not once or len(got) == len(set(got)), f"{self.name}: messages came twice")
        check(got == sorted(got), f"{self.name}: out of order")


def fill(fillers):
    """Until messages of each have been refused."""
    while not all(filler.refused for filler in fillers):
        for filler in fillers:
            filler.send(WINDOW)
        check(sum(len(filler.acknowledged) for filler in fillers) < MESSAGES_MAX,
              "the store is never full")


def sleeper(node, name):
    client = Client(node, client_id=name, clean=False)
    client.subscribe("fill/#", qos=2)
    client.close()


def wake(node, name, fillers):
    """What waits for a session: all that was acknowledged, in order, and at QoS 2 once."""
    with Client(node, client_id=name, clean=False) as client:
        check(client.is_resumed, "the session is gone")
        count = sum(len(filler.acknowledged) for filler in fillers)
        eventually(lambda: len(client.messages) >= count, 30,
                   lambda: f"{len(client.messages)} of {count} messages")
        wait_for(lambda: not is_moving(client), patient(30), "all has come")
        for filler in fillers:
            filler.check_is_in(client.messages, once=filler.qos == 2)


def is_moving(client):
    before = len(client.messages)
    client.closed.wait(0.3)
    return len(client.messages) > before


def old_one_waits(node):
    """Before MQTT 5 there is no way to say no: there is no answer."""
    with Client(node, version=4) as old:
        pending = [old.publish("fill/x", b"old".ljust(PAYLOAD), 1 + i % 2) for i in range(10)]
        pending[0].done.wait(1)
        check(not any(publish.is_acknowledged for publish in pending),
              "a client before v5 was told that what nobody keeps is safe")


def full_and_free_again(home, other, third, kill=False, disk=None):
    """`home` has little room, and a session that waits there for what comes from `other`."""
    members = [home, other, third]
    sleeper(home, "at home")
    sleeper(third, "elsewhere")
    wait_routes(members, {home.name: 1, third.name: 1})
    with Client(home) as present:  # who is there gets it all the while
        present.subscribe("fill/#", qos=0)
        fillers = [Filler(other, 1), Filler(other, 2)]
        for filler in fillers:
            check_equal(filler.send(4 * WINDOW), 0, "refused while there is room")
        if disk is not None:
            disk.fill()
        fill(fillers)
        old_one_waits(other)
        check(len(present.messages) > 0, "nothing came to the subscriber that is there")
    check(other.counter("forward_no_room_total") > 0, "refusals are counted")
    with Client(third) as near, Client(other, version=5) as publisher:
        near.subscribe("free/#", qos=1)
        check_equal(publisher.publish("free/x", b"x", 1).wait(), b"", "answer where there is room")
    if kill:
        home.kill9()
        home.start()
        wait_whole(members, 15)
        wait_routes(members, {home.name: 1})
    figure(", ".join(f"QoS {f.qos}: {len(f.acknowledged)} acknowledged, {len(f.refused)} refused"
                     for f in fillers))
    wake(home, "at home", fillers)
    if disk is not None:
        disk.free()
    wait_for(lambda: fillers[0].send(1) == 0 and fillers[1].send(1) == 0, patient(15),
             "work goes on")
    wake(third, "elsewhere", fillers)


SMALL = {"storage.map_size": "40MiB", "storage.reserve": "16MiB", "storage.ballast": 0,
         "mqtt.queue_bytes_max": "1GiB"}
LARGE = {"mqtt.queue_bytes_max": "1GiB"}


@case
def the_configured_size_is_reached():
    with cluster(settings=LARGE, settings_of={"n1": SMALL}) as members:
        full_and_free_again(*members)


@case
def killed_at_the_configured_size():
    with cluster(settings=LARGE, settings_of={"n1": SMALL}) as members:
        full_and_free_again(*members, kill=True)


@case
def the_disk_is_full():
    """Somebody else takes the last bytes: commits fail, and what was in them is refused too."""
    disk = SmallDisk("40m")
    with cluster(settings=LARGE, disks={"n1": disk}, settings_of={
            "n1": {"storage.reserve": "8MiB", "storage.ballast": "2MiB"}}) as members:
        full_and_free_again(*members, disk=disk)


if __name__ == "__main__":
    main()
