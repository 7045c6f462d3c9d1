#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is published while a node is away reaches the persistent sessions that live there."""
import contextlib
import itertools

from client import Client
from harness import case, check, main
from rig import cluster, eventually, figure, wait_routes, wait_whole

MESSAGES = 100

# Nobody is held for dead in these: what is acknowledged is not so because of that.
NOBODY_DIES = {"cluster.suspect_after_ms": 300000, "cluster.dead_after_ms": 1200000}


def sleeper(node, name="sleeper", qos=None):
    client = Client(node, client_id=name, clean=False)
    if qos is not None:
        client.subscribe("far/#", qos=qos)
    return client


@contextlib.contextmanager
def cluster_with_sleeper(qos=1, settings=None):
    """Its session is on the first member, and away."""
    with cluster(settings=settings) as members:
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


def check_all_there(home, count, qos=1, name="sleeper", of_another=None):
    """Each publisher's messages are in order; from `of_another` on they are a second one's."""
    with sleeper(home, name) as client:
        check(client.is_resumed, "the session is gone")
        eventually(lambda: len({m.payload for m in client.messages}) >= count, 20,
                   lambda: f"{len({m.payload for m in client.messages})} of {count} messages")
        numbers = [int(message.payload) for message in client.messages]
        first_seen = list(dict.fromkeys(numbers))
        border = count if of_another is None else of_another
        for topic, publisher in itertools.product(range(3), (range(border), range(border, count))):
            own = [n for n in first_seen if n % 3 == topic and n in publisher]
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
            check_all_there(home, begin + 2 * MESSAGES, qos, of_another=begin + MESSAGES)
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
def who_is_away_is_known_though_all_have_failed():
    """Nobody is left who could tell the first to come back what the others' sessions wait for."""
    with cluster_with_sleeper() as members:
        home, other, third = members
        gone = sleeper(home, "gone", qos=1)
        gone.unsubscribe("far/#")
        gone.subscribe("once/#")
        gone.unsubscribe("once/#")
        gone.close()
        wait_routes(members, {home.name: 1})
        eventually(lambda: other.counter("roster_waiting") == 0, 10, lambda: "it is not on the disk")
        for node in members:
            node.kill9()
        other.start()
        check(other.peers()[home.name]["node_status"] == "dead", f"{other.peers()}")
        with Client(other) as publisher:
            publish(publisher, 0, MESSAGES)
            check(waiting(other, home) == MESSAGES, f"{waiting(other, home)} are waiting")
            publisher.publish("once/1", b"nobody", 1).wait(20)
            check(waiting(other, home) == MESSAGES, "a route that was withdrawn is remembered")
        other.kill9()
        other.start()
        home.start()
        third.start()
        wait_whole(members)
        wait_routes(members, {home.name: 1})
        check_all_there(home, MESSAGES)


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


def early(node):
    return node.counter("outbox_early_total")


@case
def nobody_waits_for_a_node_that_has_stopped():
    with cluster_with_sleeper(settings=NOBODY_DIES) as members:
        home, other, third = members
        sleeper(third, "another", qos=1).close()
        wait_routes(members, {home.name: 1, third.name: 1})
        sent = 0
        for stopped in [home], [home, third]:
            for member in stopped:
                member.pause()
            with Client(other) as publisher:
                publish(publisher, sent, MESSAGES)
                publish(publisher, sent + MESSAGES, MESSAGES)
            sent += 2 * MESSAGES
            check(waiting(other, home) == 2 * MESSAGES, f"{waiting(other, home)} are waiting")
            states = {name: row["node_status"] for name, row in other.peers().items()}
            check("dead" not in states.values(), f"{states}")
            for member in stopped:
                member.cont()
            wait_whole(members)
            eventually(lambda: waiting(other, home) + waiting(other, third) == 0, 10,
                       lambda: f"{waiting(other, home)} and {waiting(other, third)} are waiting")
        check(early(other) >= 3 * 2 * MESSAGES, f"only {early(other)} were kept early")
        check_all_there(home, sent)
        check_all_there(third, sent, name="another")


@case
def what_was_kept_early_reaches_a_node_that_was_killed():
    """While it is thought to be alive still; and when it was known to be dead."""
    for settings in NOBODY_DIES, None:
        with cluster_with_sleeper(settings=settings) as members:
            home, other, third = members
            with Client(other) as publisher:
                home.pause()
                publish(publisher, 0, MESSAGES)
                if settings is not None:
                    check(early(other) >= MESSAGES, f"only {early(other)} were kept early")
                home.kill9()
                publish(publisher, MESSAGES, MESSAGES)
                if settings is None:
                    away(other, home)
                    away(third, home)
                    publish(publisher, 2 * MESSAGES, MESSAGES)
                    check(waiting(other, home) == 3 * MESSAGES, "not all are waiting")
                home.start()
                wait_whole(members)
                eventually(lambda: waiting(other, home) == 0, 10,
                           lambda: f"{waiting(other, home)} are waiting still")
            check_all_there(home, (2 if settings else 3) * MESSAGES)


@case
def what_was_kept_early_survives_the_node_that_keeps_it():
    with cluster_with_sleeper(settings=NOBODY_DIES) as members:
        home, other, _ = members
        home.pause()
        with Client(other) as publisher:
            publish(publisher, 0, MESSAGES)
        other.kill9()
        home.cont()
        other.start()
        wait_whole(members)
        eventually(lambda: waiting(other, home) == 0, 10,
                   lambda: f"{waiting(other, home)} are waiting still")
        check_all_there(home, MESSAGES)


@case
def for_sessions_that_end_with_their_node_nothing_is_written():
    """Their publishers wait: acknowledged, a message would be in the memory of one node only."""
    with cluster_with_sleeper(settings=NOBODY_DIES) as members:
        home, other, _ = members
        with Client(home) as subscriber:
            subscriber.subscribe("near/#", qos=1)
            wait_routes(members, {home.name: 2})
            home.pause()
            with Client(other) as publisher, Client(other) as another:
                pending = [publisher.publish("near/0", b"%d" % i, 1) for i in range(MESSAGES)]
                eventually(lambda: other.peers()[home.name]["queued_messages"] >= MESSAGES, 10,
                           lambda: f"{other.peers()[home.name]}")
                publish(another, 0, 1)  # it is behind them
                check(waiting(other, home) == 1 and early(other) == 1, "something was written")
                check(not any(one.is_acknowledged for one in pending), "some did not wait")
                home.cont()
                for one in pending:
                    one.wait(20)
            eventually(lambda: len(subscriber.messages) >= MESSAGES, 20,
                       lambda: f"{len(subscriber.messages)} of {MESSAGES} messages")
            numbers = [int(message.payload) for message in subscriber.messages]
            check(numbers == list(range(MESSAGES)), f"not once and in order: {numbers}")
        wait_whole(members)
        check_all_there(home, 1)


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
