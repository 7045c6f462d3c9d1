#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Retained messages are the same on all nodes after quiet: the last write wins, deletions included."""
import time

from client import Client
from harness import case, check, main
from rig import Member, cluster, eventually, figure, machines, wait_whole

SECRET = {"cluster.secret": "x"}


def away(node, other):
    eventually(lambda: node.peers().get(other.name, {}).get("node_status") in ("dead", "left"), 15,
               lambda: f"{node.name} has not missed {other.name}")


def write(node, messages, qos=1):
    """Payloads by topic; an empty one deletes.  At QoS 0 whatever comes behind tells the end."""
    with Client(node) as publisher:
        waits = [publisher.publish(topic, payload, qos, retain=True)
                 for topic, payload in messages.items()]
        if qos == 0:
            waits.append(publisher.publish("done", b"", 1))
        for wait in waits:
            if wait is not None:
                wait.wait(20)


def answers(node, count):
    """What a new subscriber is given, by topic; waits a little for as many as there should be."""
    with Client(node) as reader:
        reader.subscribe("k/#", qos=1)
        end = time.monotonic() + 2
        while len(reader.messages) < count and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.1)
        check(all(m.retain for m in reader.messages), "a live message to nobody's knowledge")
        return {m.topic: m.payload for m in reader.messages}


def wait_same(members, expected, label, seconds=30):
    begun = time.monotonic()
    for node in members:
        eventually(lambda: answers(node, len(expected)) == expected, seconds,
                   lambda: f"{node.name} answers what the others do: {len(expected)} expected, "
                   f"{len(answers(node, len(expected)))} there")
    figure(f"{label}: the same everywhere after {time.monotonic() - begun:.2f} s")


def wait_status(members, seconds=30):
    """Until each has found the same on all others."""
    eventually(lambda: all(m.counter("retained_nodes_apart") == 0 for m in members), seconds,
               lambda: "no node finds another one to differ: " +
               str({m.name: m.counter("retained_nodes_apart") for m in members}))


@case
def both_sides_of_a_partition_write_and_delete():
    with machines() as (network, members):
        n1, n2, n3 = members
        write(n1, {f"k/{i}": b"before" for i in range(40)})
        network.isolate("n3")
        away(n1, n3)
        away(n2, n3)
        away(n3, n1)
        for qos in (0, 1, 2):
            write(n1, {f"k/{i}": b"majority" for i in range(20) if i % 3 == qos}, qos)
            write(n3, {f"k/{i}": b"minority" for i in range(10, 30) if i % 3 == qos}, qos)
        # Deleted here, written later there; and the other way round.
        write(n2, {f"k/{i}": b"" for i in range(10, 13)})
        write(n3, {f"k/{i}": b"last" for i in range(10, 13)})
        write(n3, {f"k/{i}": b"" for i in range(15, 18)})
        write(n3, {"k/39": b""}, qos=0)
        write(n2, {"k/new": b"new"}, qos=0)
        expected = {f"k/{i}": b"before" for i in range(30, 39)}
        expected.update({f"k/{i}": b"majority" for i in range(10)})
        expected.update({f"k/{i}": b"minority" for i in range(10, 30)})
        expected.update({f"k/{i}": b"last" for i in range(10, 13)})
        for i in range(15, 18):
            del expected[f"k/{i}"]
        expected["k/new"] = b"new"
        network.heal()
        wait_whole(members)
        wait_same(members, expected, "partition")
        wait_status(members)


@case
def a_node_that_was_away_misses_nothing_and_brings_nothing_back():
    with cluster() as members:
        n1, n2, n3 = members
        write(n1, {f"k/{i}": b"old" for i in range(300)})
        wait_same(members, {f"k/{i}": b"old" for i in range(300)}, "at first")
        n3.kill9()
        away(n1, n3)
        write(n1, {f"k/{i}": b"" for i in range(100)}, qos=0)
        write(n2, {f"k/{i}": b"new" for i in range(100, 200)}, qos=0)
        write(n2, {"k/large": b"L" * 300000}, qos=0)
        expected = {f"k/{i}": b"new" if i < 200 else b"old" for i in range(100, 300)}
        expected["k/large"] = b"L" * 300000
        n3.start()
        # It takes clients when it is in step.
        check(answers(n3, len(expected)) == expected, "it answers what it had before")
        wait_same(members, expected, "after a kill")
        # So do nodes that all start again, whatever they were told last.
        write(n3, {f"k/{i}": b"" for i in range(100, 200)})
        for node in members:
            node.kill9()
        for node in members:
            node.start(wait=False)
        for node in members:
            node.wait_ready()
        for i in range(100, 200):
            del expected[f"k/{i}"]
        wait_same(members, expected, "all killed")


@case
def a_new_node_has_everything_before_it_takes_clients():
    with cluster(2) as (n1, n2):
        expected = {f"k/{i}/{i % 7}": b"%d" % i * (1 + i % 50) for i in range(5000)}
        write(n1, dict(list(expected.items())[:2500]), qos=0)
        write(n2, dict(list(expected.items())[2500:]))
        n3 = Member("n3", SECRET)
        n3.seeds = [n1.cluster_address]
        begun = time.monotonic()
        n3.start()
        figure(f"a new node is ready after {time.monotonic() - begun:.2f} s")
        check(answers(n3, len(expected)) == expected, "the new node lacks something")
        check(n3.counter("retained_fetched_total") >= 5000, "it has not fetched them")
        wait_status([n1, n2, n3])
        n3.stop()


@case
def deletions_are_forgotten_when_all_nodes_know_of_them():
    with cluster() as members:
        n1, n2, n3 = members
        write(n1, {f"k/{i}": b"x" for i in range(50)})
        write(n2, {f"k/{i}": b"" for i in range(50)})
        begun = time.monotonic()
        eventually(lambda: n1.counter("retained_tombstones") == 50, 5,
                   lambda: f"{n1.counter('retained_tombstones')} tombstones")
        for node in members:
            eventually(lambda: node.counter("retained_tombstones") == 0, 90,
                       lambda: f"{node.name} has {node.counter('retained_tombstones')} tombstones")
        figure(f"tombstones gone after {time.monotonic() - begun:.2f} s")
        wait_same(members, {}, "all deleted")


if __name__ == "__main__":
    main()
