#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`grapevine store` on the data directories of nodes that have run.

Run:  GRAPEVINE_BIN=build/debug/bin tests/cli/store_test.py [PART-OF-A-NAME...]
"""
import json
import os
import subprocess
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "mqtt")]
from harness import (Node, case, check, check_equal, folder, main, patient, program,  # noqa: E402
                     wait_for)

import packets as mqtt  # noqa: E402
from client import Client  # noqa: E402

TOPICS = 50


def grapevine(*arguments):
    """(exit status, stdout, stderr)"""
    done = subprocess.run([program("grapevine"), *map(str, arguments)], capture_output=True,
                          timeout=patient(60), check=False, text=True)
    return done.returncode, done.stdout, done.stderr


def store(action, directory):
    """The JSON of a command that shall work."""
    status, out, said = grapevine("store", action, "--json", directory)
    check_equal(status, 0, f"store {action}: exit status ({said.strip()})")
    return json.loads(out)


def retain(node, topic, payload):
    status, _, said = grapevine("pub", "-p", node.port, "-t", topic, "-m", payload, "-q", 1, "-r")
    check_equal(status, 0, f"pub: exit status ({said.strip()})")


def used_node():
    """A node that has run and has retained messages, and is stopped."""
    node = Node()
    node.start()
    for number in range(TOPICS):
        retain(node, f"plant/{number}/temperature", f"a payload to be found: {number:04}")
    node.stop()
    return node


def data_file(node):
    return os.path.join(node.data, "data.mdb")


@case
def a_stopped_nodes_store_is_sound():
    node = used_node()
    status, out, _ = grapevine("store", "check", node.data)
    check_equal(status, 0, "check: exit status")
    check(out.endswith("\nsound\n"), f"check says {out!r}")
    check(f"node '{node.name}'" in out, f"check says {out!r}")
    checked = store("check", node.data)
    check_equal(checked["tables"]["retained"]["records"], TOPICS, "retained messages")
    check_equal((checked["damaged"], checked["stray"], checked["findings"]), (0, 0, []), "findings")
    stats = store("stats", node.data)
    check_equal(stats["node"]["starts"], 1, "starts")
    check_equal(stats["file_bytes"], os.path.getsize(data_file(node)), "file_bytes")
    status, out, _ = grapevine("store", "stats", node.data)
    check("retained       50" in out, f"stats says {out!r}")
    check_equal(stats["payloads"], {"count": 0, "bytes": 0, "holders": 0}, "payloads")
    check("\npayloads: 0 of 0 B" in out, f"stats says {out!r}")


@case
def what_a_check_has_seen_a_node_can_start_with():
    node = used_node()
    store("check", node.data)
    store("compact", node.data)
    check(os.path.getsize(data_file(node)) < 1 << 20, "the compacted file is small")
    node.start()
    retain(node, "plant/new", "x")
    node.stop()
    checked = store("check", node.data)
    check_equal(checked["tables"]["retained"]["records"], TOPICS + 1, "retained messages")
    check_equal(checked["node"]["starts"], 2, "starts")


@case
def a_killed_nodes_store_is_sound():
    """Nothing is left over of sessions that went, and what is there belongs to one that is."""
    node = Node()
    for number in range(5):
        node.start()
        clients = [Client(("127.0.0.1", node.port), mqtt.V5, f"c{i}") for i in range(4)]
        for i, client in enumerate(clients):
            client.connect(clean=(i + number) % 3 == 0, will=mqtt.Will(f"will/{i}", b"gone", qos=1),
                           properties=mqtt.props(session_expiry=3600))
            client.subscribed(f"own/{i}/#", f"round/{number}", qos=2)
        # Whoever is asleep has messages that wait, and a publisher has not released its own.
        clients[0].disconnect()
        for i in range(20):
            clients[1].send(mqtt.publish(mqtt.V5, f"own/{i % 4}/x", b"x" * 100, 2, 1000 + i))
        clients[1].expect_among_messages(mqtt.PUBREC)
        node.kill9()
        checked = store("check", node.data)
        check_equal((checked["damaged"], checked["findings"]), (0, []), f"round {number}")
        check_equal(checked["tables"]["sessions"]["records"], 4, "sessions")
        check(checked["tables"]["queue_log"]["records"] > 0, "messages wait")
        for client in clients:
            client.cut()


SLEEPERS = 24  # so many that some are on each of two shards
SIZES = (20, 3000, 6000, 40000) * 5


def sleeper(node, number):
    """A client whose session has the messages of large/#, and is not over when it goes."""
    client = Client(("127.0.0.1", node.port), mqtt.V5, f"sleeper{number}")
    client.connect(clean=False, properties=mqtt.props(session_expiry=3600))
    return client


def payload_of(number, size):
    return (f"{number} ".encode() * size)[:size]


def check_sound(node, what):
    checked = store("check", node.data)
    check_equal((checked["damaged"], checked["stray"], checked["findings"]), (0, 0, []), what)
    return checked


@case
def large_messages_of_several_shards_are_there_once():
    """A killed node's store has them once, and so has a compacted one; then everybody gets them."""
    node = Node(settings={"node.shards": 2})
    node.start()
    for number in range(SLEEPERS):
        sleeper(node, number).subscribed("large/#", qos=1).disconnect()
    publisher = Client(("127.0.0.1", node.port), mqtt.V5, "publisher")
    publisher.connect()
    payloads = [payload_of(number, size) for number, size in enumerate(SIZES)]
    for payload in payloads:
        publisher.publish("large/x", payload, 1)
    node.kill9()
    publisher.cut()
    check_sound(node, "after the kill")
    large = [payload for payload in payloads if len(payload) > 1000]
    for compacted in (False, True):
        if compacted:
            store("compact", node.data)
            check_sound(node, "when it is compacted")
        stats = store("stats", node.data)["payloads"]
        check_equal((stats["count"], stats["holders"]), (len(large), 2 * len(large)), "payloads")
        check(sum(map(len, large)) < stats["bytes"] < sum(map(len, large)) + 100 * len(large),
              f"payloads have {stats['bytes']} bytes")
    node.start()
    for number in range(SLEEPERS):
        client = sleeper(node, number)
        for payload in payloads:
            client.take("large/x", payload)
        client.disconnect()
    wait_for(lambda: node.api("/api/v1/status")["message_log"]["segments"] == 0, patient(10),
             "the log is empty")
    node.stop()
    check_sound(node, "in the end")
    stats = store("stats", node.data)
    check_equal(stats["payloads"], {"count": 0, "bytes": 0, "holders": 0}, "payloads in the end")


@case
def damage_is_named_and_the_rest_is_there():
    node = used_node()
    with open(data_file(node), "r+b") as file:
        content = file.read()
        at = content.index(b"a payload to be found: 0007")
        while at >= 0:  # former versions of the page are in the file too
            file.seek(at)
            file.write(b"A")
            at = content.find(b"a payload to be found: 0007", at + 1)
    status, out, _ = grapevine("store", "check", node.data)
    check_equal(status, 1, "check: exit status")
    check("retained 'plant/7/temperature': damaged" in out, f"check says {out!r}")
    status, out, _ = grapevine("store", "check", "--json", node.data)
    check_equal(status, 1, "check: exit status")
    checked = json.loads(out)
    check_equal(checked["damaged"], 1, "damaged")
    check_equal(checked["tables"]["retained"]["damaged"], 1, "damaged retained messages")
    check_equal(checked["tables"]["retained"]["records"], TOPICS, "retained messages")
    check_equal(checked["findings"], [{"table": "retained", "key": "plant/7/temperature",
                                       "what": "damaged"}], "findings")


@case
def a_truncated_file_is_refused_with_a_reason():
    node = used_node()
    os.truncate(data_file(node), 8192)
    for action in ("check", "stats", "compact"):
        status, out, said = grapevine("store", action, node.data)
        check_equal((status, out), (1, ""), f"store {action}")
        check("is truncated" in said and "backup" in said, f"store {action} says {said!r}")


@case
def a_running_nodes_store_is_left_alone():
    node = Node()
    node.start()
    for action in ("check", "stats", "compact"):
        status, out, said = grapevine("store", action, node.data)
        check_equal((status, out), (1, ""), f"store {action}")
        check("in use by another process" in said, f"store {action} says {said!r}")
    check(node.is_ready(), "the node is still ready")


@case
def where_there_is_no_store_that_is_said():
    directory = folder("empty")
    for action in ("check", "stats", "compact"):
        status, _, said = grapevine("store", action, directory)
        check_equal(status, 1, f"store {action}: exit status")
        check("there is no store" in said, f"store {action} says {said!r}")
    check_equal(os.listdir(directory), [], "what is in the directory afterwards")


@case
def wrong_usage_is_told():
    for arguments in ([], ["repair", "x"], ["check"], ["check", "a", "b"], ["check", "--bad", "a"]):
        status, out, said = grapevine("store", *arguments)
        check_equal((status, out), (2, ""), f"store {arguments}")
        check(said.startswith("grapevine store: "), f"store {arguments} says {said!r}")
    for arguments in (["--help"], ["check", "--help"]):
        status, out, said = grapevine("store", *arguments)
        check_equal((status, said), (0, ""), f"store {arguments}")
        check(out.startswith("usage: grapevine store"), f"store {arguments} says {out!r}")


if __name__ == "__main__":
    main()
