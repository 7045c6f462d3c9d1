#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How nodes find each other: few seeds, late seeds, new addresses, many at once."""
import os
import subprocess
import time

from client import Client, end_streams, streams
from harness import case, case_of, check, free_port, main, patient, program
from rig import (LONG, Member, cluster, eventually, figure, machines, wait_routes, wait_tables,
                 wait_whole)

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
def without_seeds_a_cluster_finds_itself_again():
    """Who has joined by command is remembered by all, though all fail at once."""
    nodes = members(3)
    for node in nodes:
        node.start()
    for node in nodes[1:]:
        node.http(f"/api/v1/cluster/join?seed={nodes[0].cluster_address}", "POST")
    wait_whole(nodes)
    for node in nodes:
        node.kill9()
    for node in nodes:
        node.start(wait=False)
    wait_whole(nodes)
    for node in nodes:
        check({other.name for other in nodes} == set(node.peers()), f"{node.peers()}")
    stop_all(nodes)


@case
def a_member_is_started_without_its_cluster():
    """It serves its clients, and knows the others when it is one of them again."""
    n1, n2 = nodes = members(2)
    n2.seeds = [n1.cluster_address]
    for node in nodes:
        node.start()
    wait_whole(nodes)
    with Client(n1, "sleeper", clean=False) as client:
        client.subscribe("far", qos=1)
    wait_routes(nodes, {"n1": 1})
    stop_all(nodes)
    port, n2.cluster_port, n2.seeds = n2.cluster_port, None, []
    n2.start()
    with Client(n2) as client:
        client.publish("far", b"nobody", 1).wait()
    n2.stop()
    n2.cluster_port = port
    n2.start()
    with Client(n2) as client:
        client.publish("far", b"1", 1).wait()
    check(n2.peers()["n1"]["outbox_messages"] == 1, f"{n2.peers()['n1']}")
    n2.stop()


@case
def seed_that_comes_late():
    nodes = members(3)
    for node in nodes:
        node.seeds = [nodes[2].cluster_address, node.cluster_address]
        node.settings["cluster.ready_wait_ms"] = 1000
    nodes[0].start(wait=False)
    nodes[1].start()
    nodes[0].wait_ready()
    time.sleep(1)
    with Client(nodes[0]) as client:
        client.subscribe("x")
        client.publish("x", b"alone", 1).wait()
    nodes[2].start(wait=False)
    figure(f"whole {wait_whole(nodes, 5):.2f} s after the only seed has come")
    stop_all(nodes)


@case
def both_pages_say_the_same_of_the_others_and_of_itself():
    with cluster() as nodes:
        for node in nodes:
            flat = {row["node"]: row for row in node.api("/api/v1/nodes")["data"]}
            views = next(row["views"] for row in node.api("/api/v1/cluster")["nodes"]
                         if row["node"] == node.name)
            check(len(views) == len(flat) == 3, f"{node} sees {len(flat)} and {len(views)} nodes")
            for view in views:
                check(view["link_up"] is True and flat[view["node"]]["link_up"] is True,
                      f"{node}: link_up of {view['node']}")
                check(view["last_heard_ms"] is not None, f"{node}: has heard {view['node']}")


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
        n3.wait_ready()
        subscriber = Client(n3)
        subscriber.subscribe("new")
        with Client(n1) as publisher:
            publisher.publish("old/1", b"x", 1).wait()
            publisher.publish("new", b"x", 1).wait()
        eventually(lambda: len(subscriber.messages) == 1, 5, lambda: "the new node is reached")


def command(node, *words):
    """`grapevine cluster ...`, asked of a node: (exit status, what it printed)."""
    done = subprocess.run([program("grapevine"), "cluster", *words, "--admin", node.admin_address],
                          capture_output=True, text=True, timeout=patient(20), check=False)
    return done.returncode, done.stdout + done.stderr


@case
def nodes_join_leave_and_are_forgotten_by_command():
    """Without a seed anywhere; what one is told to forget, all forget."""
    nodes = n1, n2, n3 = members(3)
    for node in nodes:
        node.seeds = []
        node.start()
    check(len(n1.peers()) == 1, f"nodes without seeds have found each other: {n1.peers()}")
    check(command(n1, "join", "nonsense")[0] == 1, "a seed that is none was taken")
    for other in (n2, n3):
        status, text = command(n1, "join", other.cluster_address)
        check(status == 0, f"join: {text}")
    wait_whole(nodes, 5)
    status, text = command(n1, "forget", "n3")
    check(status == 1 and "alive" in text, f"a living node was forgotten: {text}")
    check(command(n1, "forget", "n9")[0] == 1, "a node that never was has been forgotten")

    with Client(n3) as client:
        client.subscribe("a")
        status, text = command(n3, "leave")
        check(status == 0, f"leave: {text}")
        n3.wait_end()
        check(n3.process.returncode == 0, f"n3 ended with {n3.process.returncode}")
    for node in (n1, n2):
        eventually(lambda: node.sees(n3) == "left", 2, lambda: f"{node.name} sees n3 {node.sees(n3)}")
    status, text = command(n2, "forget", "n3")
    check(status == 0, f"forget: {text}")
    for node in (n1, n2):
        eventually(lambda: sorted(node.peers()) == ["n1", "n2"], 2,
                   lambda: f"{node.name} has forgotten n3, it lists {sorted(node.peers())}")
    # Its next life is welcome.
    n3.seeds = [n1.cluster_address]
    n3.start(wait=False)
    wait_whole(nodes, 5)
    stop_all(nodes)


@case
def what_was_forgotten_meanwhile_is_not_brought_back():
    """n2 is killed; n3 does not hear that it is forgotten, and still knows it when it is back."""
    with machines(3) as (network, (n1, n2, n3)):
        n2.kill9()
        for node in (n1, n3):
            eventually(lambda: node.sees(n2) == "dead", 5, lambda: f"{node.name} sees n2 dead")
        network.cut("n1", "n3")
        eventually(lambda: n1.sees(n3) == "dead", 5, lambda: "n1 sees n3 dead")
        status, answer = n1.http("/api/v1/cluster/forget?node=n2", "POST")
        check(status == 200, f"forget: {status} {answer}")
        eventually(lambda: "n2" not in n1.peers(), 2, lambda: "n1 has forgotten n2")
        check("n2" in n3.peers(), "n3 has heard of it through a cut")
        network.heal()
        eventually(lambda: "n2" not in n3.peers() and n3.sees(n1) == "alive", 10,
                   lambda: f"n3 has forgotten n2 too, it lists {sorted(n3.peers())}")
        time.sleep(2)
        for node in (n1, n3):
            check("n2" not in node.peers(), f"{node.name} knows n2 again")


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
            eventually(lambda: node.sees(dead) == "dead", 5, lambda: f"{node} sees {dead} dead")
    with Client(nodes[0]) as publisher:
        publisher.publish("all/x", b"x", 1).wait()
    for client, node in zip(clients, nodes):
        if node in survivors:
            eventually(lambda: len(client.messages) == 1, 10, lambda: f"{node} hears it")
    for node in killed:
        node.start(wait=False)
    figure(f"{count} nodes: whole {wait_whole(nodes, 10):.2f} s after two came back")
    end_streams(between, "many nodes", pause_max=2)
    stop_all(nodes)


if __name__ == "__main__":
    main()
