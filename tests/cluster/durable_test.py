#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Persistent sessions on nodes of a cluster that are killed and come back."""
from client import CONNECT, SUBSCRIBE, Client, packet, text
from harness import case, check, main
from rig import cluster, eventually, figure, wait_routes, wait_whole

ROUNDS = 5
MESSAGES = 200


def sleeper(node, subscribe=False):
    client = Client(node, client_id="sleeper", clean=False)
    if subscribe:
        client.subscribe("far/#", qos=1)
    return client


@case
def what_another_node_acknowledged_is_on_disk_here():
    """The publisher's PUBACK comes from its own node; the session lives on the one that dies."""
    with cluster() as members:
        home, other, _ = members
        sleeper(home, subscribe=True).close()
        sent = 0
        for _ in range(ROUNDS):
            with Client(other) as publisher:
                pending = [publisher.publish(f"far/{sent + i}", b"%d" % (sent + i), 1)
                           for i in range(MESSAGES)]
                for answer in pending:
                    answer.wait()
            sent += MESSAGES
            home.kill9()
            home.start()
            wait_whole(members, 10)
            wait_routes(members, {home.name: 1}, 10)
        with sleeper(home) as client:
            check(client.is_resumed, "the session is gone")
            eventually(lambda: len(client.messages) >= sent, 15,
                       lambda: f"{len(client.messages)} of {sent} messages")
            numbers = [int(message.payload) for message in client.messages]
            check(sorted(set(numbers)) == list(range(sent)),
                  f"{sent - len(set(numbers))} of {sent} acknowledged messages are missing")
            check(numbers == sorted(numbers), "they are out of order")
        figure(f"{sent} messages acknowledged by another node, {ROUNDS} kills: all there")


def leave_will(node, client_id):
    """A client with a session that stays, a will, and a connection that lasts as long as the node."""
    connection = node.connect(node.port)
    flags = 4 | 1 << 3  # a will of QoS 1; the session stays
    connection.sendall(packet(CONNECT << 4, text("MQTT") + bytes([4, flags, 0, 0]) +
                              text(client_id) + text("will/mortal") + text("gone")))
    check(connection.recv(4) == b"\x20\x02\x00\x00", "no CONNACK")
    connection.sendall(packet(SUBSCRIBE << 4 | 2, b"\x00\x01" + text("nothing") + b"\x01"))
    check(connection.recv(5)[:1] == b"\x90", "no SUBACK")  # the will is on the disk as well
    return connection


@case
def wills_of_a_node_that_was_killed_reach_the_others():
    """It knows nobody's routes at first when it is back."""
    with cluster() as members:
        home, other, _ = members
        with Client(other) as watcher:
            watcher.subscribe("will/#", qos=1)
            for round_number in range(1, 4):
                with leave_will(home, f"mortal{round_number}"):
                    home.kill9()
                home.start()
                eventually(lambda: len(watcher.messages) >= round_number, 15,
                           lambda: f"{len(watcher.messages)} of {round_number} wills")
            check(len(watcher.messages) == round_number, "the will came more than once")


if __name__ == "__main__":
    main()
