#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Limits in time: messages and bytes a client may send per second, clients that may connect."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, Unexpected, unique
from harness import Node, case, check, check_equal, main, patient, wait_for
from packets import V5, V311


def started(**settings):
    node = Node(settings={f"mqtt.{key}": value for key, value in settings.items()})
    return node.start()


def joined(node, version=V5, client_id=None):
    client = Client(("127.0.0.1", node.port), version, client_id)
    client.connect()
    return client


def counter(node, name):
    return node.api("/api/v1/status")["counters"][name]


def seconds_for(node, payload, count):
    """How long `count` messages take from a publisher that sends as fast as it can."""
    topic = unique("rate")
    with joined(node) as watcher, joined(node) as publisher:
        watcher.subscribed(topic)
        begun = time.monotonic()
        publisher.send(mqtt.publish(V5, topic, payload) * count)
        for _ in range(count):
            watcher.expect_publish(topic)
        return time.monotonic() - begun


@case
def a_client_above_its_message_rate_is_slowed_and_loses_nothing():
    node = started(client_messages_rate=100, client_messages_burst=50)
    took = seconds_for(node, b"x", 150)  # 50 at once, then 100 in a second
    check(0.9 <= took <= patient(3), f"150 messages took {took:.2f} s")
    check(counter(node, "publishers_paced_total") > 0, "it is counted")
    status, metrics = node.http("/metrics")
    check(status == 200 and b"\ngrapevine_publishers_paced_total " in metrics, "in /metrics too")


@case
def a_client_above_its_byte_rate_is_slowed_and_loses_nothing():
    node = started(client_bytes_rate="100KiB", client_bytes_burst="50KiB")
    took = seconds_for(node, b"x" * 10240, 15)
    check(0.9 <= took <= patient(3), f"150 KiB took {took:.2f} s")


@case
def others_are_not_slowed_with_it():
    node = started(client_messages_rate=10)
    topic = unique("rate")
    with joined(node) as fast, joined(node) as calm:
        fast.send(mqtt.publish(V5, topic, b"x") * 1000)
        wait_for(lambda: counter(node, "publishers_paced_total"), patient(5), "the fast one waits")
        begun = time.monotonic()
        for _ in range(5):
            calm.publish(topic, b"x", qos=1)
        check(time.monotonic() - begun < patient(5), "the calm one does not wait")  # or 100 s


@case
def clients_above_the_connect_rate_are_told_to_come_later():
    node = started(connect_rate=5, connect_burst=3)
    came = [joined(node) for _ in range(3)]
    reasons = []
    for version in (V5, V311):
        client = Client(("127.0.0.1", node.port), version)
        client.send(mqtt.connect(version, client.client_id))
        try:
            reasons.append(client.expect_close())
        except Unexpected:  # this machine is so slow that a token came in
            reasons.append(None)
        client.cut()
    check(reasons[0] in (0x9f, None) and reasons[1] in (3, None), f"{reasons}")
    check(any(reasons), "some are refused")
    check_equal(counter(node, "connects_rate_refused_total"), sum(map(bool, reasons)), "counted")
    time.sleep(0.5)
    came.append(joined(node))
    for client in came:
        client.ping()
        client.cut()


@case
def a_listener_with_an_accept_rate_lets_clients_wait():
    node = Node()
    node.listen = [f"tcp://127.0.0.1:{node.port}?accept_rate=10"]
    node.start()
    clients = [Client(("127.0.0.1", node.port)) for _ in range(20)]
    begun = time.monotonic()
    for client in clients:
        client.send(mqtt.connect(V5, client.client_id))
    for client in clients:
        client.expect(mqtt.CONNACK, reason=0)
        client.cut()
    took = time.monotonic() - begun
    check(0.7 <= took <= patient(4), f"20 clients came in within {took:.2f} s")
    check(counter(node, "accept_delayed_total") > 0, "it is counted")


@case
def rates_change_with_a_reload():
    node = Node()
    path = f"{node.data}.conf"

    def configure(rate):
        with open(path, "w", encoding="ascii") as out:
            out.write(f"mqtt.client_messages_rate = {rate}\n")
    configure(0)
    command = node.command
    node.command = lambda: [*command(), "-c", path]
    node.start()
    check(seconds_for(node, b"x", 400) < 2.5, "no limit")
    configure(100)
    node.hangup()
    node.wait_log("client_messages_rate")
    took = seconds_for(node, b"x", 400)  # 100 at once, then 300 in three seconds
    check(took >= 2.5, f"400 messages at 100/s took {took:.2f} s")


if __name__ == "__main__":
    main()
