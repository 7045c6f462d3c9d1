#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Members of a shared group come and go, with and without sessions that stay, and the node is killed."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

import packets as mqtt
from harness import Node, case, check_equal, main
from scene import connect, kill_and_start, payloads_of, sleeper, visitor

SHARDS = 3
GROUPS = 8  # so that members meet on one shard and on two
MESSAGES = 20


class Group:
    """One persistent member, who has been sent the first of the messages, and no other member."""

    def __init__(self, node, name, qos):
        self.node, self.qos = node, qos
        self.filter = f"$share/{name}/{name}"
        self.payloads = [f"{name}-{i}".encode() for i in range(MESSAGES)]
        self.holder = connect(node, properties={"receive_maximum": 1}).subscribed(self.filter, qos=qos)
        publisher = visitor(node)
        for payload in self.payloads:
            publisher.publish(name, payload, qos)
        self.holder.expect_publish(name, self.payloads[0])
        # What was begun at QoS 2 is finished with him.
        self.left = self.payloads[qos - 1:]

    def taker(self):
        """Another member, whose session ends with its connection."""
        return visitor(self.node).subscribed(self.filter, qos=self.qos)

    def leave_to(self, taker):
        """The holder goes; gives what the taker gets of him, none of it acknowledged."""
        self.holder.cut()
        packets = [taker.expect(mqtt.PUBLISH) for _ in self.left]
        check_equal(sorted(packet.payload for packet in packets), sorted(self.left),
                    "what a member leaves to another")
        return packets

    def waiting(self, least):
        """What the holder finds when he comes back."""
        return payloads_of(connect(self.node, self.holder.client_id), least)


def groups_of(node, qos):
    return [Group(node, f"g{i}", qos) for i in range(GROUPS)]


def settle(node):
    """What has happened so far is on disk, whichever shard is to write it."""
    for _ in range(GROUPS):
        sleeper(node, "settled")
    visitor(node).publish("settled", "x", 1)


def lent_messages_survive(qos):
    node = Node(settings={"node.shards": SHARDS}).start()
    groups = groups_of(node, qos)
    for group in groups:
        group.leave_to(group.taker())
    settle(node)
    kill_and_start(node)
    for group in groups:
        check_equal(sorted(group.waiting(MESSAGES)), sorted(group.payloads),
                    "messages that nobody has acknowledged")


@case
def what_a_member_without_a_session_has_not_acknowledged_is_still_there():
    lent_messages_survive(1)


@case
def what_a_member_without_a_session_has_not_received_at_qos_2_is_still_there():
    lent_messages_survive(2)


@case
def what_a_member_without_a_session_has_acknowledged_does_not_come_again():
    node = Node(settings={"node.shards": SHARDS}).start()
    groups = groups_of(node, 1)
    for group in groups:
        taker = group.taker()
        for packet in group.leave_to(taker)[::2]:
            taker.acknowledge(packet)
        taker.ping()
    settle(node)
    settle(node)  # what was acknowledged on one shard is noted by another
    kill_and_start(node)
    for group in groups:
        check_equal(sorted(group.waiting(MESSAGES // 2)), sorted(group.payloads[1::2]),
                    "messages that nobody has acknowledged")


@case
def what_one_member_leaves_goes_to_the_next_and_is_still_there():
    node = Node(settings={"node.shards": SHARDS}).start()
    groups = groups_of(node, 1)
    for group in groups:
        first, second = group.taker(), None
        for packet in group.leave_to(first)[:5]:
            first.acknowledge(packet)
        second = group.taker()
        first.cut()
        check_equal(sorted(second.expect(mqtt.PUBLISH).payload for _ in group.payloads[5:]),
                    sorted(group.payloads[5:]), "what a member leaves to the next")
        second.expect_nothing()
    settle(node)
    kill_and_start(node)
    for group in groups:
        check_equal(sorted(group.waiting(MESSAGES - 5)), sorted(group.payloads[5:]),
                    "messages that nobody has acknowledged")


if __name__ == "__main__":
    main()
