#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node whose disk is full: it lives, refuses what it cannot keep, and loses nothing it has acknowledged.

Run:  GRAPEVINE_BIN=build/debug/bin tests/disk/full_disk_test.py [PART-OF-A-NAME...]
"""
import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path += [TESTS, os.path.join(TESTS, "mqtt")]
from harness import Node, case, check, check_equal, main, patient, wait_for  # noqa: E402

import packets as mqtt  # noqa: E402
from client import Client  # noqa: E402
from small_disk import SmallDisk  # noqa: E402

QUOTA_EXCEEDED = 0x97
PAYLOAD = bytes(range(256)) * 64  # 16 KiB

SETTINGS = {"storage.reserve": "4MiB", "storage.map_size": "1GiB", "storage.ballast": "2MiB"}


def node_on(disk):
    node = Node(launcher=disk.launcher, data=os.path.join(disk.path, "data"), settings=SETTINGS)
    return node.start()


def connect(node, client_id, *, clean=False, version=mqtt.V5):
    client = Client(("127.0.0.1", node.port), version, client_id)
    properties = mqtt.props(session_expiry=3600) if version == mqtt.V5 else None
    client.connect(clean=clean, properties=properties)
    return client


def sleeping_subscriber(node):
    client = connect(node, "sleeper", clean=True)
    client.subscribed("waits/#", qos=1)
    client.disconnect()


def publish_until_refused(publisher, first=0):
    """The numbers of the messages that were acknowledged with success."""
    for number in range(first, first + 20000):
        puback = publisher.publish("waits/here", b"%08d" % number + PAYLOAD, qos=1)
        if (puback.reason or 0) >= 0x80:
            check_equal(puback.reason, QUOTA_EXCEEDED, "reason of the refusal")
            return list(range(first, number))
    raise AssertionError("the disk does not fill")


def drain(node, count):
    """Reads what waits for the sleeper: the numbers, in the order they came."""
    client = connect(node, "sleeper")
    numbers = []
    while len(numbers) < count:
        message = client.take("waits/here")
        check_equal(message.payload[8:], PAYLOAD, "payload")
        numbers.append(int(message.payload[:8]))
    client.expect_nothing()
    client.disconnect()
    return numbers


def is_taken(publisher, number):
    puback = publisher.publish("waits/here", b"%08d" % number + PAYLOAD, qos=1)
    return (puback.reason or 0) < 0x80


@case
def what_was_acknowledged_is_delivered_and_then_there_is_room_again():
    disk = SmallDisk("40m")
    node = node_on(disk)
    sleeping_subscriber(node)
    publisher = connect(node, "publisher", clean=True)
    stored = publish_until_refused(publisher)
    check(len(stored) > 1000, f"only {len(stored)} messages of 16 KiB fit on 40 MiB")

    check_equal(drain(node, len(stored)), stored, "messages delivered")
    wait_for(lambda: is_taken(publisher, 100000), patient(10), "messages are taken again")
    check_equal(drain(node, 1), [100000], "messages delivered")
    node.stop()


@case
def a_disk_that_others_fill_to_the_last_byte_takes_nothing_that_was_acknowledged():
    disk = SmallDisk("40m")
    node = node_on(disk)
    sleeping_subscriber(node)
    publisher = connect(node, "publisher", clean=True)
    stored = []
    for number in range(300):
        check(is_taken(publisher, number), "there is room")
        stored.append(number)
    disk.fill()
    stored += publish_until_refused(publisher, first=len(stored))

    # Clients of other kinds are served all the while.
    other = connect(node, "other", clean=True, version=mqtt.V311)
    other.subscribed("now/#")
    other.publish("now/here", b"x")
    other.expect_publish("now/here", b"x")

    check_equal(drain(node, len(stored)), stored, "messages delivered")
    disk.free()
    wait_for(lambda: is_taken(publisher, 100000), patient(10), "messages are taken again")
    check_equal(drain(node, 1), [100000], "messages delivered")
    wait_for(lambda: os.path.exists(disk.file(os.path.join(node.data, "ballast"))), patient(10),
             "the ballast is back")
    node.stop()


@case
def a_node_killed_on_a_full_disk_starts_on_it_and_delivers():
    disk = SmallDisk("40m")
    node = node_on(disk)
    sleeping_subscriber(node)
    stored = publish_until_refused(connect(node, "publisher", clean=True))
    disk.fill()
    node.kill9()
    node.start()
    check_equal(drain(node, len(stored)), stored, "messages delivered")
    node.stop()


if __name__ == "__main__":
    main()
