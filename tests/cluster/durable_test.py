#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Persistent sessions on nodes of a cluster that are killed and come back."""
from client import Client
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


if __name__ == "__main__":
    main()
