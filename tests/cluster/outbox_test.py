#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is published while a node is away reaches the persistent sessions that live there."""
import contextlib

from client import Client
from harness import case, check, main
from rig import cluster, eventually, figure, wait_routes, wait_whole

MESSAGES = 100


def sleeper(node, name="sleeper", qos=None):
    client = Client(node, client_id=name, clean=False)
    if qos is not None:
        client.subscribe("far/#", qos=qos)
    return client


@contextlib.contextmanager
def cluster_with_sleeper(qos=1):
    """Its session is on the first member, and away."""
    with cluster() as members:
        sleeper(members[0], qos=qos).close()
        wait_routes(members, {members[0].name: 1})
        yield members


def publish(client, first, count, qos=1):
    pending = [client.publish(f"far/{i % 3}", b"%d" % i, qos) for i in range(first, first + count)]
    for answer in pending:
        answer.wait(20)


def away(node, other, seconds=10):
    eventually(lambda: node.peers().get(other.name, {}).get("node_status") in ("dead", "left"),
               seconds, lambda: f"{node.name} has not missed {other.name}: {node.peers()}")


def waiting(node, other):
    return node.peers()[other.name]["outbox_messages"]


def check_all_there(home, count, qos=1):
    with sleeper(home) as client:
        check(client.is_resumed, "the session is gone")
        eventually(lambda: len({m.payload for m in client.messages}) >= count, 20,
                   lambda: f"{len({m.payload for m in client.messages})} of {count} messages")
        numbers = [int(message.payload) for message in client.messages]
        first_seen = list(dict.fromkeys(numbers))
        for topic in range(3):
            own = [number for number in first_seen if number % 3 == topic]
            check(own == sorted(own), f"out of order: {own}")
        check(qos < 2 or len(numbers) == len(set(numbers)), "some came twice")
        check(set(numbers) == set(range(count)), f"missing: {set(range(count)) - set(numbers)}")


@case
def messages_for_a_node_that_was_killed_wait_for_it():
    for qos in 1, 2:
        with cluster_with_sleeper(qos) as members:
            home, other, third = members
            home.kill9()
            with Client(other) as publisher, Client(third) as another:
                if qos == 1:  # what was begun at QoS 2 may be refused
                    publish(publisher, 0, MESSAGES)
                away(other, home)
                away(third, home)
                begin = MESSAGES if qos == 1 else 0
                publish(publisher, begin, MESSAGES, qos)
                check(waiting(other, home) >= MESSAGES, f"{waiting(other, home)} are waiting")
                check(waiting(third, home) == 0, "a node keeps what nobody has published there")
                home.start()
                wait_whole(members)
                publish(another, begin + MESSAGES, MESSAGES, qos)
                eventually(lambda: waiting(other, home) == 0, 10,
                           lambda: f"{waiting(other, home)} are waiting still")
            check_all_there(home, begin + 2 * MESSAGES, qos)
            figure(f"QoS {qos}: {begin + 2 * MESSAGES} messages while the node was away: all there")


@case
def a_planned_restart_loses_nothing():
    with cluster_with_sleeper() as members:
        home, other, _ = members
        sent = 0
        with Client(other) as publisher:
            for _ in range(3):
                home.stop()
                publish(publisher, sent, MESSAGES)
                home.start()
                publish(publisher, sent + MESSAGES, MESSAGES)
                sent += 2 * MESSAGES
        wait_whole(members)
        check_all_there(home, sent)


@case
def what_waits_survives_the_node_that_keeps_it():
    with cluster_with_sleeper() as members:
        home, other, third = members
        home.kill9()
        away(other, home)
        with Client(other) as publisher:
            publish(publisher, 0, MESSAGES)
        other.kill9()
        other.start()
        wait_whole([other, third])
        check(waiting(other, home) == MESSAGES, f"{waiting(other, home)} are waiting")
        with Client(other) as publisher:  # it knows the routes from the third
            publish(publisher, MESSAGES, MESSAGES)
        check(waiting(other, home) == 2 * MESSAGES, f"{waiting(other, home)} are waiting")
        home.start()
        wait_whole(members)
        check_all_there(home, 2 * MESSAGES)


@case
def nothing_waits_for_sessions_that_ended_with_the_node():
    with cluster() as members:
        home, other, _ = members
        with Client(home) as subscriber:
            subscriber.subscribe("far/#", qos=1)
            wait_routes(members, {home.name: 1})
            home.kill9()
        away(other, home)
        with Client(other) as publisher:
            publish(publisher, 0, MESSAGES)
        check(waiting(other, home) == 0, f"{waiting(other, home)} are waiting for nobody")
        home.start()
        wait_whole(members)


@case
def a_retained_message_reaches_a_node_that_was_away():
    with cluster() as members:
        home, other, _ = members
        home.kill9()
        away(other, home)
        with Client(other) as publisher:
            publisher.publish("kept", b"new", 1, retain=True).wait(20)
        home.start()
        wait_whole(members)
        with Client(home) as reader:
            reader.subscribe("kept", qos=1)
            eventually(lambda: [m.payload for m in reader.messages] == [b"new"], 10,
                       lambda: f"{reader.messages}")


if __name__ == "__main__":
    main()
