#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node that is drained: clients go elsewhere, a few at a time, and may come back later."""

import json
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, unique
from harness import Cluster, Node, case, check, check_equal, main, patient, program, wait_for
from packets import V5, V311, Will


def joined(node, version=V5, **options):
    client = Client(("127.0.0.1", node.port), version)
    client.connack = client.connect(**options)
    return client


def farewell(client):
    """The DISCONNECT a client gets, or None if it is just closed."""
    client.expect_close()
    last = client.got[-1]
    return last if last.kind == mqtt.DISCONNECT else None


def knock(node, version=V5):
    """What somebody who connects now is told."""
    client = Client(("127.0.0.1", node.port), version)
    client.send(mqtt.connect(version, client.client_id))
    connack = client.receive()
    client.cut()
    return connack


def drain(node, query="", path="/api/v1/drain"):
    status, body = node.http(path + query, "POST")
    check_equal(status, 200, f"POST {path}{query}")
    return json.loads(body)


def state(node):
    return node.api("/api/v1/status")["drain"]["state"]


def grapevine(*arguments):
    return subprocess.run([program("grapevine"), *map(str, arguments)], capture_output=True,
                          timeout=patient(30), check=False)


@case
def clients_are_told_where_to_go():
    node = Node(settings={"drain.server_reference": "other:1883"}).start()
    v5, old = joined(node), joined(node, V311)
    check_equal(state(node), "no", "state before")
    drain(node)
    last = farewell(v5)
    check_equal((last.reason, last.properties["server_reference"]), (0x9c, "other:1883"), "v5")
    check_equal(farewell(old), None, "3.1.1 has no words for it")
    connack = knock(node)
    check_equal((connack.reason, connack.properties["server_reference"]), (0x9c, "other:1883"),
                "CONNACK")
    check_equal(knock(node, V311).reason, 3, "CONNACK of 3.1.1")


@case
def a_drained_node_is_not_ready_and_says_why_until_it_is_undrained():
    node = Node().start()
    client = joined(node)
    drain(node)
    last = farewell(client)
    check_equal((last.reason, last.properties.get("server_reference")), (0x9c, None),
                "without a reference")
    status, body = node.http("/readyz")
    check_equal((status, json.loads(body)["reasons"]), (503, ["draining"]), "/readyz")
    wait_for(lambda: state(node) == "drained", patient(10), "all are gone")
    check_equal(node.http("/livez")[0], 200, "/livez")
    check_equal(drain(node, path="/api/v1/undrain")["state"], "no", "state")
    wait_for(node.is_ready, patient(10), "ready again")
    joined(node).ping()


@case
def a_fleet_goes_a_few_at_a_time():
    node = Node(settings={"drain.clients_per_second": 50}).start()
    clients = [joined(node, version) for version in (V5, V311) * 30]
    counters = node.api("/api/v1/status")["counters"]
    check_equal(counters["clients_drained_total"], 0, "drained before")
    gone_at = []

    def watch(client):
        client.expect_close(timeout_s=patient(10))
        gone_at.append(time.monotonic())
    begun = time.monotonic()
    watchers = [threading.Thread(target=watch, args=(client,)) for client in clients]
    for watcher in watchers:
        watcher.start()
    left = drain(node)["clients_left"]
    check(0 < left <= 60, f"{left} left")
    for watcher in watchers:
        watcher.join()
    seconds = [at - begun for at in sorted(gone_at)]
    check_equal(len(seconds), 60, "all are gone")
    check(seconds[29] > 0.35, f"half of them were gone after {seconds[29]:.2f} s")
    check(0.9 < seconds[-1] < patient(10), f"60 at 50/s took {seconds[-1]:.2f} s")
    counters = node.api("/api/v1/status")["counters"]
    check_equal(counters["clients_drained_total"], 60, "drained")


def nobody_goes(node):
    """Whether all who are connected still are a second later."""
    before = node.api("/api/v1/status")["connections"]["current"]
    time.sleep(1)
    return node.api("/api/v1/status")["connections"]["current"] == before


@case
def a_drain_may_be_called_off_half_way():
    node = Node().start()
    clients = [joined(node) for _ in range(30)]
    drain(node, "?clients_per_second=3&server_reference=b:1")
    last = farewell(clients[-1])
    check_equal(last.properties["server_reference"], "b:1", "where this drain sends")
    drain(node, path="/api/v1/undrain")
    wait_for(lambda: nobody_goes(node), patient(5), "nobody goes any more")  # 3 would, each second
    left = node.api("/api/v1/status")["connections"]["current"]
    check(0 < left < 30, f"{left} left")
    joined(node).ping()


@case
def the_command_drains_waits_and_undrains():
    node = Node().start()
    clients = [joined(node) for _ in range(10)]
    at = ("--admin", node.admin_address)
    done = grapevine("drain", *at, "--to", "c:1883", "--rate", 20, "--wait")
    check_equal((done.returncode, done.stderr), (0, b""), "grapevine drain")
    check(b"sent to c:1883" in done.stdout, f"it says {done.stdout}")
    check_equal(node.api("/api/v1/status")["connections"]["current"], 0, "connections")
    for client in clients:
        client.expect_close(0x9c)
    check_equal(grapevine("status", *at, "--ready").returncode, 3, "status --ready")
    shown = grapevine("status", *at)
    check(shown.returncode == 0 and b"drained, 0 clients left" in shown.stdout, "status")
    check_equal(grapevine("undrain", *at).returncode, 0, "grapevine undrain")
    check_equal(grapevine("status", *at, "--ready").returncode, 0, "status --ready, after it")


@case
def sigterm_sends_clients_away_too():
    for settings, reason, reference in (
            ({}, 0x8b, None),
            ({"drain.server_reference": "d:1883", "drain.server_moved": "true"}, 0x9d, "d:1883")):
        node = Node(settings={"drain.stop_timeout": "10m", **settings}).start()
        client = joined(node)
        node.stop(patient(20))  # it does not wait for the time-out
        last = farewell(client)
        check_equal((last.reason, last.properties.get("server_reference")), (reason, reference),
                    "DISCONNECT")


@case
def sigterm_hurries_when_there_are_many():
    node = Node(settings={"drain.clients_per_second": 1, "drain.stop_timeout": "4s"}).start()
    clients = [joined(node) for _ in range(100)]
    begun = time.monotonic()
    watchers = [threading.Thread(target=client.expect_close, args=(0x8b,)) for client in clients]
    for watcher in watchers:
        watcher.start()
    node.stop()
    took = time.monotonic() - begun
    check(1 < took < patient(10), f"100 clients within 4 s took {took:.1f} s")
    for watcher in watchers:
        watcher.join()
    for client in clients:
        check_equal(client.got[-1].kind, mqtt.DISCONNECT, "it was told")


@case
def a_drained_node_still_stops():
    node = Node(settings={"drain.stop_timeout": "10m"}).start()
    drain(node)
    node.stop(patient(20))  # it does not wait for the time-out


@case
def a_drain_in_a_cluster_leaves_the_others_alone():
    cluster = Cluster(2).start()
    topic = unique("drain")
    watcher = joined(cluster[1]).subscribed(topic)
    client = joined(cluster[0], will=Will(topic, b"sent away"))
    drain(cluster[0])
    farewell(client)
    watcher.expect_publish(topic, b"sent away")
    check_equal(cluster[1].sees(cluster[0]), "alive", "it is still a member")
    check(cluster[1].is_ready(), "the other one is ready")
    with joined(cluster[1]) as moved:
        moved.publish(topic, b"at home elsewhere", qos=1)
    watcher.expect_publish(topic, b"at home elsewhere")


if __name__ == "__main__":
    main()
