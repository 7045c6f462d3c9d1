#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""100,000 subscriptions on one node: how soon and at what price the others know them."""
import time

from client import Client
from harness import case_of, check, main
from rig import Levels, cluster, eventually, figure, wait_routes, wait_tables

COUNT = 100_000
CLIENTS = 10
PER_PACKET = 500


def filters():
    """One in ten with a wildcard; about as long as in the field."""
    for i in range(COUNT):
        building = f"buildings/{i // 100:04d}/rooms/{i % 100:02d}"
        yield f"{building}/+" if i % 10 == 0 else f"{building}/temperature"


def subscribe_all(node):
    every = list(filters())
    clients = [Client(node) for _ in range(CLIENTS)]
    share = COUNT // CLIENTS
    pending = []
    for k, client in enumerate(clients):
        mine = every[k * share:(k + 1) * share]
        for at in range(0, share, PER_PACKET):
            pending.append(client.subscribe_later(mine[at:at + PER_PACKET]))
    for one in pending:
        one.wait(60)
    return clients


def one_delivery_each(n1_clients, publisher_node):
    """Some of the routes, used: exact and wildcard."""
    before = sum(len(c.messages) for c in n1_clients)
    with Client(publisher_node) as publisher:
        for i in range(0, COUNT, 997):
            publisher.publish(f"buildings/{i // 100:04d}/rooms/{i % 100:02d}/temperature", b"x", 1)
        expected = len(range(0, COUNT, 997))
        eventually(lambda: sum(len(c.messages) for c in n1_clients) - before >= expected, 10,
                   lambda: f"{expected} deliveries")


@case_of(seconds=180)
def a_hundred_thousand_subscriptions_replicate():
    with cluster() as nodes:
        n1, n2, n3 = nodes
        before = {node.name: node.memory_bytes() for node in nodes}
        begun = time.monotonic()
        clients = subscribe_all(n1)
        acknowledged = time.monotonic() - begun
        wait_routes([n2, n3], {"n1": COUNT}, 30)
        wait_tables(nodes)
        known = time.monotonic() - begun
        figure(f"{COUNT} subscriptions: acknowledged after {acknowledged:.2f} s, on every node after "
               f"{known:.2f} s; {sum(n.counter('suback_late_total') for n in nodes)} late SUBACKs")
        time.sleep(1)
        for node in (n2, n3):
            grown = node.memory_bytes() - before[node.name]
            told = node.peers()["n1"]["route_bytes"] + node.counter("router_bytes")
            figure(f"on {node.name}: {grown / COUNT:.0f} bytes of memory per route, "
                   f"{told / COUNT:.0f} by its own account (table and router)")
            check(grown / COUNT < 300,
                  f"{grown / COUNT:.0f} bytes per route on {node.name}")
        figure(f"on n1, with the sessions: {(n1.memory_bytes() - before['n1']) / COUNT:.0f} "
               "bytes per subscription")
        one_delivery_each(clients, n3)

        n3.kill9()
        begun = time.monotonic()
        n3.start(wait=False)
        eventually(lambda: n3.peers().get("n1", {}).get("routes") == COUNT, 10,
                   lambda: "a restarted node has all routes")
        wait_tables(nodes)
        n3.wait_ready()
        figure(f"a restarted node has them after {time.monotonic() - begun:.2f} s")
        one_delivery_each(clients, n3)

        begun = time.monotonic()
        for client in clients:
            client.close()
        wait_routes([n2, n3], {"n1": 0}, 30)
        wait_tables(nodes)
        figure(f"gone everywhere after {time.monotonic() - begun:.2f} s")
        for node in nodes:
            eventually(lambda: node.counter("router_filters") == 0, 10,
                       lambda: f"{node.name} has {node.counter('router_filters')} filters left")
        check(sum(n.counter("cluster_table_mismatches_total") for n in nodes) == 0, "table mismatch")


@case_of(seconds=180)
def memory_does_not_grow_with_churn():
    """
    20,000 subscriptions come and go ten times: a remote node uses what it did after the first time,
    by its own account.  What the allocator has kept for the next time is bounded.
    """
    with cluster() as nodes:
        n1, n2, _ = nodes
        sizes, level = [], None
        for number in range(10):
            client = Client(n1)
            names = [f"churn/{i}/x" for i in range(20_000)]
            pending = [client.subscribe_later(names[at:at + PER_PACKET])
                       for at in range(0, len(names), PER_PACKET)]
            for one in pending:
                one.wait(30)
            wait_routes([n2], {"n1": len(names)}, 20)
            client.close()
            wait_routes([n2], {"n1": 0}, 20)
            level = level or Levels(n2)
            level.wait_back(f"after {number + 1} rounds")
            sizes.append(n2.memory_bytes())
        figure("n2 after each round: " + " ".join(f"{s / 1e6:.1f}" for s in sizes) + " MB")
        check(sizes[-1] < 2 * sizes[3], f"{sizes[3]} bytes after four rounds, {sizes[-1]} after ten")


if __name__ == "__main__":
    main()
