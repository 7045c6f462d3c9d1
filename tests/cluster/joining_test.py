#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How nodes find each other: few seeds, late seeds, new addresses, many at once."""
import os
import time

from client import Client, end_streams, streams
from harness import case, case_of, check, free_port, main
from rig import LONG, Member, cluster, eventually, figure, wait_routes, wait_tables, wait_whole

SECRET = {"cluster.secret": "x"}


def members(count):
    return [Member(f"n{i + 1}", SECRET) for i in range(count)]


def stop_all(nodes):
    for node in nodes:
        if node.is_running():
            node.stop()


@case
def seeds_in_a_chain():
    """Each knows only the one before it."""
    nodes = members(4)
    for before, node in zip(nodes, nodes[1:]):
        node.seeds = [before.cluster_address]
    for node in nodes:
        node.start()
    figure(f"chain of four: whole {wait_whole(nodes, 5):.2f} s after the last is ready")
    # Who has no seed at all comes back too: the others look for it.
    nodes[0].kill9()
    nodes[0].start(wait=False)
    figure(f"the first, without seeds, is back after {wait_whole(nodes, 5):.2f} s")
    stop_all(nodes)


@case
def seed_that_comes_late():
    nodes = members(3)
    for node in nodes:
        node.seeds = [nodes[2].cluster_address, node.cluster_address]
    nodes[0].start()
    nodes[1].start()
    time.sleep(2)
    with Client(nodes[0]) as client:
        client.subscribe("x")
        client.publish("x", b"alone", 1).wait()
    nodes[2].start(wait=False)
    figure(f"whole {wait_whole(nodes, 5):.2f} s after the only seed has come")
    stop_all(nodes)


@case
def new_address_of_an_old_node():
    """As a container gets it after a restart: same data directory, other ports."""
    with cluster() as (n1, n2, n3):
        n3.kill9()
        n3.cluster_port = free_port()
        n3.start(wait=False)
        figure(f"back under a new address after {wait_whole([n1, n2, n3], 5):.2f} s")
        check(len(n1.peers()) == 3, f"n1 lists {sorted(n1.peers())}")
        # And once more while the others do not run: only the seeds can help.
        for node in (n1, n2):
            node.kill9()
        n1.seeds = [n3.cluster_address]
        n1.start(wait=False)
        n2.start(wait=False)
        wait_whole([n1, n2, n3], 5)


@case
def lost_data_directory():
    """The node comes back as a new one under the old name; the old one stays dead."""
    with cluster() as (n1, n2, n3):
        with Client(n3) as client:
            client.subscribe("old/1", "old/2")
            wait_routes([n1, n2], {"n3": 2})
        n3.kill9()
        os.rename(n3.data, n3.data + ".lost")
        n3.start(wait=False)

        def has_both():
            rows = [row for row in n1.api("/api/v1/nodes")["data"] if row["node"] == "n3"]
            return sorted(row["node_status"] for row in rows) in (["alive"], ["alive", "dead"])
        eventually(has_both, 10, lambda: f"n1 sees a new n3: {n1.api('/api/v1/nodes')}")
        subscriber = Client(n3)
        subscriber.subscribe("new")
        with Client(n1) as publisher:
            publisher.publish("old/1", b"x", 1).wait(3)
            publisher.publish("new", b"x", 1).wait(3)
        eventually(lambda: len(subscriber.messages) == 1, 5, lambda: "the new node is reached")


@case_of(seconds=240)
def many_nodes_at_once():
    count = 16 if LONG else 7
    nodes = members(count)
    for node in nodes:
        node.seeds = [nodes[0].cluster_address, nodes[1].cluster_address]
    begun = time.monotonic()
    for node in nodes:
        node.start(wait=False)
    wait_whole(nodes, 20)
    figure(f"{count} nodes: whole after {time.monotonic() - begun:.2f} s")
    between = streams(list(zip(nodes, nodes[1:3])), levels=(1,))
    clients = [Client(node) for node in nodes]
    for client in clients:
        client.subscribe("all/+")
    wait_tables(nodes)
    survivors, killed = nodes[:3] + nodes[5:], nodes[3:5]
    for node in killed:
        node.kill9()
    for node in survivors:
        for dead in killed:
            eventually(lambda: node.sees(dead) == "dead", 3, lambda: f"{node} sees {dead} dead")
    with Client(nodes[0]) as publisher:
        publisher.publish("all/x", b"x", 1).wait(3)
    for client, node in zip(clients, nodes):
        if node in survivors:
            eventually(lambda: len(client.messages) == 1, 5, lambda: f"{node} hears it")
    for node in killed:
        node.start(wait=False)
    figure(f"{count} nodes: whole {wait_whole(nodes, 10):.2f} s after two came back")
    end_streams(between, "many nodes", pause_max=1)
    stop_all(nodes)


if __name__ == "__main__":
    main()
