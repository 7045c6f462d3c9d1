#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One live connection per client id in the whole cluster: the newest."""
import random
import threading
import time

from client import Client
from harness import Failure, case, check, check_equal, main, patient
from rig import Member, cluster, eventually, figure, machines, wait_whole

TAKEN_OVER = 0x8E


def places(members, prefix):
    """Where clients are connected: {client id: [names of nodes]}."""
    found = {}
    for node in members:
        page = 1
        while True:
            answer = node.api(f"/api/v1/clients?limit=1000&page={page}")
            for row in answer["data"]:
                if row["connected"] and row["clientid"].startswith(prefix):
                    found.setdefault(row["clientid"], []).append(node.name)
            if not answer["meta"]["hasnext"]:
                break
            page += 1
    return found


def wait_places(members, prefix, wanted, seconds=10):
    eventually(lambda: places(members, prefix) == wanted, seconds,
               lambda: f"clients are at {wanted}: {places(members, prefix)}")


def wait_registered(members, count, seconds=10):
    """Until the nodes look after so many connections together, as many as they hold."""
    def sums():
        return [sum(node.counter(name) for node in members)
                for name in ("directory_registered", "directory_held")]
    eventually(lambda: sums() == [count, count], seconds,
               lambda: f"{count} connections are registered: {sums()}")


def ends(client, seconds=10):
    check(client.closed.wait(patient(seconds)), f"{client.name}: its older connection lives")


@case
def who_connects_elsewhere_ends_his_older_connection():
    with cluster(settings={"cluster.claim_wait_ms": 30000}) as members:
        n1, n2, n3 = members
        watcher = Client(n3)
        watcher.subscribe("will/#", qos=1)
        for version in (4, 5):
            name = f"one-v{version}"
            old = Client(n1, name, version, will=(f"will/{version}", "gone"))
            begun = time.monotonic()
            young = Client(n2, name, version)
            figure(f"CONNECT that takes over, v{version}: "
                   f"{(time.monotonic() - begun) * 1000:.1f} ms")
            # It had been closed when CONNACK came.
            wait_places(members, name, {name: ["n2"]}, 0.5)
            ends(old)
            check_equal(old.reason, TAKEN_OVER if version == 5 else None, "reason")
            eventually(lambda: [m.topic for m in watcher.messages][-1:] == [f"will/{version}"], 10,
                       lambda: f"the will of the older one is published: {watcher.messages}")
            check(not young.closed.is_set(), "the newer connection has ended")
            # And back again, to the node where it was, and to where it is.
            back = Client(n1, name, version)
            ends(young)
            again = Client(n1, name, version)
            ends(back)
            wait_places(members, name, {name: ["n1"]})
            again.close()
        eventually(lambda: sum(n.counter("takeovers_elsewhere_total") for n in members) == 4, 10,
                   lambda: "4 takeovers by connections elsewhere are counted")
        check_equal([n.counter("directory_claims_late_total") for n in members], [0, 0, 0],
                    "claims that were not answered")
        wait_registered(members, 1)


@case
def the_session_of_the_loser_stays_where_it_was():
    with cluster() as members:
        n1, n2, _ = members
        old = Client(n1, "stays", clean=False)
        old.subscribe("stays/#", qos=1)
        young = Client(n2, "stays", clean=False)
        ends(old)
        check(not young.is_resumed, "sessions do not follow their clients yet")
        rows = [row for row in n1.api("/api/v1/clients?limit=1000")["data"]
                if row["clientid"] == "stays"]
        check(len(rows) == 1 and not rows[0]["connected"], f"n1 has it offline: {rows}")
        back = Client(n1, "stays", clean=False)
        check(back.is_resumed, "the session at n1 is there when its client comes back")
        ends(young)


class Storm:
    """Many clients that reconnect to any of some nodes, and stay connected at last."""

    def __init__(self, prefix, nodes, count, seconds):
        self.nodes = list(nodes)
        self.live = {}
        self.connects = 0
        self._end = time.monotonic() + seconds
        self._threads = [threading.Thread(target=self._play, args=(f"{prefix}-{i}",), daemon=True)
                         for i in range(count)]
        for thread in self._threads:
            thread.start()

    def _connect(self, name, pick):
        while True:
            nodes = [node for node in self.nodes if node.is_running()]
            try:
                client = Client(pick.choice(nodes), name, pick.choice((4, 5)))
                self.connects += 1
                return client
            except (OSError, Failure):  # the node is down, or another one of us was faster
                time.sleep(0.01)

    def _play(self, name):
        pick = random.Random(name)
        previous = None
        while time.monotonic() < self._end:
            client = self._connect(name, pick)
            # Now and then the older one says goodbye; mostly it is left to be found.
            if previous is not None and pick.random() < 0.2:
                previous.close()
            previous = client
        self.live[name] = self._connect(name, pick)

    def wait(self):
        for thread in self._threads:
            thread.join(patient(60))
            check(not thread.is_alive(), "a client does not get in")


def check_storm(storm, members, prefix):
    storm.wait()
    check_places(storm, members, prefix)


def check_places(storm, members, prefix):
    def settled():
        found = places(members, prefix)
        return set(found) == set(storm.live) and all(len(at) == 1 for at in found.values())
    eventually(settled, 20, lambda: f"each id has one connection: {places(members, prefix)}")
    eventually(lambda: not any(c.closed.is_set() for c in storm.live.values()), 1,
               lambda: "the newest connection of each id lives: "
               f"{[name for name, c in storm.live.items() if c.closed.is_set()]} do not")
    wait_registered(members, len(storm.live))


@case
def a_storm_of_reconnects_ends_with_one_connection_each():
    with cluster(settings={"cluster.claim_wait_ms": 30000}) as members:
        storm = Storm("storm", members, 50, 5)
        check_storm(storm, members, "storm")
        figure(f"storm: {storm.connects} connects of 50 ids, "
               f"{sum(n.counter('takeovers_elsewhere_total') for n in members)} taken over from "
               f"another node, {sum(n.counter('directory_claims_late_total') for n in members)} late")
        for client in storm.live.values():
            client.close()
        wait_registered(members, 0)


@case
def a_killed_registrar_is_replaced():
    """The third node takes no clients here: it only looks after some of the ids."""
    with cluster() as members:
        n1, n2, n3 = members
        storm = Storm("killed", [n1, n2], 50, 6)
        time.sleep(2)
        n3.kill9()
        storm.wait()
        check_places(storm, [n1, n2], "killed")
        n3.start()
        wait_whole(members)
        wait_registered(members, 50)
        check(n3.counter("directory_registered") > 0, "the node that is back looks after no id")
        # They are known there, or this would not end the older ones.
        for name in list(storm.live):
            storm.live[name + " older"] = storm.live.pop(name)
            storm.live[name] = Client(n3, name)
        for name, client in storm.live.items():
            if name.endswith("older"):
                ends(client)


@case
def a_stopped_owner_keeps_nobody_out():
    with cluster() as members:
        n1, n2, n3 = members
        old = [Client(n1, f"stopped-{i}", 5) for i in range(20)]
        wait_registered(members, 20)
        n1.pause()
        waits, young = [], []
        for client in old:
            begun = time.monotonic()
            young.append(Client(n2, client.name, 5))
            waits.append(time.monotonic() - begun)
        figure(f"owner stopped: CONNECT elsewhere after {max(waits) * 1000:.0f} ms at most")
        check(max(waits) <= 0.5 + patient(1), f"a CONNECT took {max(waits):.2f} s")
        n1.cont()
        for client in old:
            ends(client)
            check_equal(client.reason, TAKEN_OVER, "reason")
        wait_whole(members)
        wait_places(members, "stopped", {client.name: ["n2"] for client in young})
        check(not any(client.closed.is_set() for client in young), "a newer connection has ended")
        wait_registered(members, 20)


@case
def after_a_partition_the_newer_connection_stays():
    with machines() as (network, members):
        n1, n2, n3 = members
        before = [Client(n1, f"apart-{i}", 5) for i in range(10)]
        network.cut("n1", "n2")
        network.cut("n1", "n3")
        eventually(lambda: all(n1.peers()[n.name]["node_status"] == "dead" and
                               n.peers()["n1"]["node_status"] == "dead" for n in (n2, n3)), 15,
                   lambda: "both sides hold the other for dead")
        newer = {}
        for i, client in enumerate(before):
            newer[client.name] = Client(n2 if i % 2 else n3, client.name, 5)
        # Of some the newest is on the side that was left.
        for i in range(10, 20):
            first = Client(n2, f"apart-{i}", 5)
            time.sleep(0.01)  # within a millisecond two sides cannot tell who was first
            newer[first.name] = Client(n1, first.name, 5)
            before.append(first)
        check(not any(client.closed.is_set() for client in before), "the network is not cut")
        network.heal()
        for client in before:
            ends(client, 20)
            check_equal(client.reason, TAKEN_OVER, f"{client.name}: reason")
        wait_registered(members, 20, 20)
        check(not any(client.closed.is_set() for client in newer.values()),
              "a newer connection has ended")


@case
def a_pair_that_is_cut_asks_through_the_third():
    with machines(settings={"cluster.claim_wait_ms": 30000}) as (network, members):
        n1, n2, n3 = members
        network.cut("n1", "n2")
        eventually(lambda: all(a.peers()[b.name]["relay"] == "n3" for a, b in ((n1, n2), (n2, n1))),
                   15, lambda: "n1 and n2 reach each other through n3")
        for i in range(20):
            old = Client(n1, f"pair-{i}", 5)
            young = Client(n2, f"pair-{i}", 5)
            ends(old)
            check(not young.closed.is_set(), "the newer connection has ended")
        wait_registered(members, 20)


@case
def a_node_alone_asks_nobody_and_tells_all_when_another_comes():
    n1, n2 = (Member(name, {"cluster.secret": "x"}) for name in ("n1", "n2"))
    n2.seeds = [n1.cluster_address]
    n1.start()
    old = [Client(n1, f"alone-{i}") for i in range(2500)]
    check_equal(n1.counter("directory_claims_total"), 0, "claims of a node that is alone")
    check_equal(n1.counter("directory_held"), 0, "connections that were told")
    n2.start()
    wait_whole([n1, n2])
    wait_registered([n1, n2], len(old), 20)
    for client in old[:10]:
        Client(n2, client.name)
        ends(client)
    check(not any(client.closed.is_set() for client in old[10:]), "others have ended, too")
    n1.stop()
    n2.stop()


if __name__ == "__main__":
    main()
