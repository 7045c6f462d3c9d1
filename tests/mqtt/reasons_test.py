#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reason Strings: which limit, which filter; for who wants to know.  Copies of one message."""

import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, unique
from harness import Node, case, check, check_equal, main, program
from packets import V5, V311, Will

LIMITS = {"mqtt.topic_levels_max": 3, "mqtt.subscriptions_max": 2, "mqtt.client_id_size_max": 30,
          "mqtt.receive_max": 1, "mqtt.packet_size_max": 2000}


def joined(node, version=V5, **options):
    client = Client(("127.0.0.1", node.port), version)
    client.connect(**options)
    return client


def refusals(node, **options):
    """The packets that refuse something, one of each kind there is."""
    def connect(client_id, **more):
        client = Client(("127.0.0.1", node.port), V5, client_id)
        client.send(mqtt.connect(V5, client_id, **more, **options))
        client.expect_close()
        return client.got[-1]

    def end(*packets):
        client = joined(node, **options)
        client.send(b"".join(packets))
        client.expect_close()
        return client.got[-1]

    def take_over():
        first = joined(node, **options)
        with Client(("127.0.0.1", node.port), V5, first.client_id) as second:
            second.connect()
            first.expect_close(0x8e)
        return first.got[-1]

    client = joined(node, **options)
    yield client.subscribe("a/b/c/d", "ok")
    yield client.subscribe("b", "c")
    yield client.publish("a/b/c/d", b"x", qos=1)
    yield client.publish("a/b/c/d", b"x", qos=2)
    yield client.publish("$SYS/x", b"x", qos=1)
    yield connect("x" * 31)
    yield connect("x", will=Will("a/b/c/d"))
    yield end(mqtt.publish(V5, "t", b"x", 2, 1), mqtt.publish(V5, "t", b"x", 2, 2))
    yield end(mqtt.publish(V5, "t", bytes(3000)))
    yield end(mqtt.publish(V5, "t", b"x", properties={"topic_alias": 65535}))
    yield take_over()


@case
def refusals_say_why():
    node = Node(settings=LIMITS).start()
    told = [packet.properties.get("reason_string") for packet in refusals(node)]
    check(None not in told, f"a refusal without a reason: {told}")
    check("a/b/c/d" in told[0], f"the filter is in {told[0]!r}")
    check("c: more subscriptions" in told[1], f"the filter is in {told[1]!r}")
    keys = {key for text in told for key in re.findall(r"\b[a-z]+\.[a-z_]+", text)}
    check(len(keys) >= 6, f"keys are named: {keys}")
    known = subprocess.run([program("grapevined"), "--keys"], capture_output=True, text=True,
                           check=True).stdout
    for key in keys:
        check(key in known, f"{key} is a key")


@case
def who_wants_no_reasons_gets_none():
    node = Node(settings=LIMITS).start()
    for packet in refusals(node, properties={"request_problem_information": 0}):
        check_equal(packet.properties, {}, f"properties of {packet}")


@case
def success_is_told_without_words():
    node = Node(settings=LIMITS).start()
    client = joined(node)
    check_equal(client.subscribe("a", "b").properties, {}, "SUBACK")
    publisher = joined(node)
    check_equal(publisher.publish("a", b"x", qos=1).properties, {}, "PUBACK")
    check_equal(publisher.publish("nobody", b"x", qos=1).properties, {}, "PUBACK 0x10")


@case
def one_copy_with_all_identifiers_or_a_copy_for_each_subscription():
    for overlaps, expected in (("merge", [(1, [7, 9])]), ("each", [(0, [7]), (1, [9])])):
        node = Node(settings={"mqtt.overlaps": overlaps}).start()
        topic = unique("overlap")
        watcher = joined(node)
        watcher.subscribed(f"{topic}/#", qos=0, properties={"subscription_id": 7})
        watcher.subscribed(f"{topic}/+", qos=1, properties={"subscription_id": 9})
        publisher = joined(node)
        publisher.publish(f"{topic}/x", b"m", qos=1)
        got = []
        for _ in expected:
            packet = watcher.take(f"{topic}/x")
            got.append((packet.qos, sorted(packet.properties["subscription_id"])))
        watcher.expect_nothing()
        check_equal(sorted(got), expected, overlaps)
        old = joined(node, V311).subscribed(f"{topic}/+", "#")
        publisher.publish(f"{topic}/y", b"m", qos=1)
        for _ in expected:
            old.expect_publish(f"{topic}/y")
        old.expect_nothing()


if __name__ == "__main__":
    main()
