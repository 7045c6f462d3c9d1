#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Limits in time: messages and bytes a client may send per second, clients that may connect."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, unique
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
    check(0.9 <= took <= patient(10), f"150 messages took {took:.2f} s")
    check(counter(node, "publishers_paced_total") > 0, "it is counted")
    status, metrics = node.http("/metrics")
    check(status == 200 and b"\ngrapevine_publishers_paced_total " in metrics, "in /metrics too")


@case
def a_client_above_its_byte_rate_is_slowed_and_loses_nothing():
    node = started(client_bytes_rate="100KiB", client_bytes_burst="50KiB")
    took = seconds_for(node, b"x" * 10240, 15)
    check(0.9 <= took <= patient(10), f"150 KiB took {took:.2f} s")


@case
def others_are_not_slowed_with_it():
    node = started(client_messages_rate=10)
    topic = unique("rate")
    with joined(node) as fast, joined(node) as calm:
        fast.send(mqtt.publish(V5, topic, b"x") * 1000)
        wait_for(lambda: counter(node, "publishers_paced_total"), patient(10), "the fast one waits")
        begun = time.monotonic()
        for _ in range(5):
            calm.publish(topic, b"x", qos=1)
        check(time.monotonic() - begun < patient(5), "the calm one does not wait")  # or 100 s


@case
def clients_above_the_connect_rate_are_told_to_come_later():
    node = started(connect_rate=1, connect_burst=3)
    begun = time.monotonic()
    clients = [Client(("127.0.0.1", node.port), (V5, V311)[i % 2]) for i in range(60)]
    for client in clients:
        client.send(mqtt.connect(client.version, client.client_id))
    told = [client.expect(mqtt.CONNACK).reason for client in clients]
    seconds = time.monotonic() - begun
    came = [client for client, reason in zip(clients, told) if reason == 0]
    check(3 <= len(came) <= 4 + seconds, f"{len(came)} came in {seconds:.1f} s: {told}")
    check(set(told[::2]) <= {0, 0x9f} and set(told[1::2]) <= {0, 3}, f"they are told {told}")
    check_equal(counter(node, "connects_rate_refused_total"), 60 - len(came), "counted")

    def is_let_in():
        with Client(("127.0.0.1", node.port)) as late:
            late.send(mqtt.connect(V5, late.client_id))
            return late.expect(mqtt.CONNACK).reason == 0
    wait_for(is_let_in, patient(10), "there is room again", 0.5)
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
    check(0.7 <= took <= patient(10), f"20 clients came in within {took:.2f} s")
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
    seconds_for(node, b"x", 400)
    check_equal(counter(node, "publishers_paced_total"), 0, "publishers that wait without a limit")
    configure(100)
    node.hangup()
    node.wait_log("client_messages_rate")

    def is_slowed():
        took = seconds_for(node, b"x", 400)  # 100 at once, then 300 in three seconds
        return counter(node, "publishers_paced_total") > 0 and took >= 2.5
    # Each client has another shard, which hears of it when it has the time.
    wait_for(is_slowed, patient(10), "the new limit holds")


if __name__ == "__main__":
    main()
