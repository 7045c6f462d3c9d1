#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""$SYS/brokers/NODE/clients/CLIENTID/connected and disconnected, as EMQX has them."""

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, unique
from harness import Cluster, Node, case, check, check_equal, main, patient, wait_for
from packets import V5, V311

EVENTS = "$SYS/brokers/+/clients/+/+"


def joined(node, client_id=None, version=V5, **options):
    client = Client(("127.0.0.1", node.port), version, client_id)
    client.connack = client.connect(**options)
    return client


def next_event(watcher, client_id, kind):
    """The next event of this client and kind, whatever comes before it."""
    while True:
        packet = watcher.receive()
        check(packet is not None, f"no {kind} of {client_id}")
        _, _, node, _, told_id, told_kind = packet.topic.split("/")
        if (told_id, told_kind) == (client_id, kind):
            check_equal((packet.qos, packet.retain), (0, False), "QoS and RETAIN")
            event = json.loads(packet.payload)
            check_equal((event["node"], event["clientid"]), (node, client_id), "node and client")
            check(abs(event["ts"] / 1000 - time.time()) < patient(10), "the time")
            return event


@case
def who_comes_is_told():
    node = Node("grape").start()
    watcher = joined(node).subscribed(EVENTS)
    v5 = joined(node, keep_alive=77, properties={"session_expiry": 5}, username="nina")
    event = next_event(watcher, v5.client_id, "connected")
    expected = {"node": "grape", "ipaddress": "127.0.0.1", "username": "nina", "proto_name": "MQTT",
                "proto_ver": 5, "keepalive": 77, "clean_start": True, "expiry_interval": 5,
                "sockport": node.port}
    check_equal({key: event[key] for key in expected}, expected, "event")
    old = joined(node, version=V311, clean=False)
    event = next_event(watcher, old.client_id, "connected")
    check_equal((event["proto_ver"], event["clean_start"], event["username"]), (4, False, None),
                "event of 3.1.1")


@case
def who_goes_is_told_with_the_reason():
    node = Node().start()
    watcher = joined(node).subscribed(EVENTS)

    def reason_of(client):
        return next_event(watcher, client.client_id, "disconnected")["reason"]
    client = joined(node)
    client.disconnect()
    check_equal(reason_of(client), "normal", "DISCONNECT")
    client = joined(node)
    client.cut()
    check_equal(reason_of(client), "tcp_closed", "a broken connection")
    client = joined(node, keep_alive=1)
    check_equal(reason_of(client), "keepalive_timeout", "silence")
    client = joined(node)
    again = joined(node, client.client_id)
    check_equal(reason_of(client), "takenover", "a second connection")
    again.send(mqtt.ack(V5, mqtt.PUBREL, 0))
    check_equal(reason_of(again), "protocol_error", "a mistake")


@case
def who_is_refused_is_not_told():
    node = Node(settings={"mqtt.client_id_size_max": 30}).start()
    watcher = joined(node).subscribed("$SYS/brokers/#")
    refused = Client(("127.0.0.1", node.port), V5, "x" * 31)
    refused.send(mqtt.connect(V5, refused.client_id))
    refused.expect_close(0x85)
    watcher.expect_nothing()


@case
def events_cross_the_cluster():
    cluster = Cluster(2).start()
    watcher = joined(cluster[0]).subscribed(EVENTS)
    far = joined(cluster[1])
    check_equal(next_event(watcher, far.client_id, "connected")["node"], "node2", "node")
    far.cut()
    check_equal(next_event(watcher, far.client_id, "disconnected")["node"], "node2", "node")
    status = joined(cluster[1]).subscribed("$SYS/broker/#")  # and what has no name in it does not
    while status.expect(mqtt.PUBLISH).topic != "$SYS/broker/version":
        pass
    seen = [p.topic for p in iter(lambda: status.receive(0.3), None)]
    check("$SYS/broker/version" not in seen, "that of the other node has come too")


@case
def wildcards_and_clients_are_kept_out():
    node = Node().start()
    watcher = joined(node).subscribed("#", "+/brokers/#", "+/+/+/+/+/+")
    listener = joined(node).subscribed(EVENTS)
    forger = joined(node)
    next_event(listener, forger.client_id, "connected")
    topic = f"$SYS/brokers/{node.name}/clients/{forger.client_id}/disconnected"
    check_equal(forger.publish(topic, b"{}", qos=1).reason, 0x87, "PUBACK")
    forger.publish(topic, b"{}")
    forger.ping()
    listener.expect_nothing()
    watcher.expect_nothing()
    check_equal(node.api("/api/v1/status")["messages"]["dropped"]["refused"], 2, "counted")


@case
def odd_client_ids_stay_one_level():
    node = Node().start()
    watcher = joined(node).subscribed("$SYS/brokers/+/clients/+/connected")
    odd = unique("a/+#%")
    joined(node, odd)
    packet = watcher.expect(mqtt.PUBLISH)
    check_equal(packet.topic.split("/")[4], odd.replace("%", "%25").replace("/", "%2F")
                .replace("+", "%2B").replace("#", "%23"), "level")
    check_equal(json.loads(packet.payload)["clientid"], odd, "clientid")


@case
def they_can_be_turned_off():
    node = Node(settings={"mqtt.client_events": "false"}).start()
    watcher = joined(node).subscribed(EVENTS)
    joined(node).cut()
    watcher.expect_nothing()


@case
def a_storm_of_clients_is_told_to_the_last():
    node = Node().start()
    watcher = joined(node).subscribed("$SYS/brokers/+/clients/+/disconnected")
    gone = set()
    for _ in range(10):
        clients = [joined(node, keep_alive=0) for _ in range(50)]
        for client in clients:
            client.cut()
            gone.add(client.client_id)
    told = set()
    while told != gone:
        packet = watcher.receive()
        check(packet is not None, f"{len(gone - told)} were not told")
        told.add(json.loads(packet.payload)["clientid"])
    wait_for(lambda: node.api("/api/v1/status")["connections"]["current"] == 1, patient(10),
             "all are gone")


if __name__ == "__main__":
    main()
