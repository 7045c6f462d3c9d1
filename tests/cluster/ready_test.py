#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""When a node that has just started takes clients: in step with the others, or after a bounded wait."""
import json
import socket
import time

from client import Client
from harness import Failure, case, check, check_equal, free_port, main, patient
from rig import Member, cluster, eventually, figure, machines

ROUNDS = 30
SECONDS_OF_A_LIFE = 0.4
WAIT_MS = 1500


def takes_clients(node):
    try:
        node.connect(node.port, patient(5)).close()
        return True
    except ConnectionRefusedError:
        return False


def reasons(node):
    status, body = node.http("/readyz")
    return status, json.loads(body).get("reasons")


class Publisher:
    """It connects again as soon as it can, as every library does, and knows what was acknowledged."""

    def __init__(self, node):
        self._node = node
        self.acknowledged, self.nobody, self.sent = [], [], 0

    def live(self, seconds, on_connected):
        """
        Publishes for so long, whatever becomes of the node; where that takes longer to be there, for
        a while after it is.
        """
        until = time.monotonic() + seconds
        came_in, give_up = False, until + patient(5)
        while time.monotonic() < (until if came_in else give_up):
            try:
                with Client(self._node, version=5) as client:
                    if not came_in:
                        came_in, until = True, max(until, time.monotonic() + seconds / 4)
                    on_connected()
                    self._publish(client, until)
            except (OSError, Failure):
                time.sleep(0.0005)

    def _publish(self, client, until):
        while time.monotonic() < until:
            batch = []
            for _ in range(5):
                batch.append((self.sent, client.publish("far/x", b"%d" % self.sent, 1)))
                self.sent += 1
            for number, pending in batch:
                answer = pending.wait()
                if answer[:1] < b"\x80":
                    self.acknowledged.append(number)
                if answer[:1] == b"\x10":
                    self.nobody.append(number)


def sleeper(node, topic_filter=None):
    """A persistent session; who wakes it gets what has waited."""
    client = Client(node, client_id=f"sleeper-{node.name}", clean=False)
    if topic_filter:
        client.subscribe(topic_filter, qos=1)
    return client


def check_has(node, numbers):
    with sleeper(node) as client:
        check(client.is_resumed, f"{node}: the session is gone")
        eventually(lambda: len({int(m.payload) for m in client.messages} & numbers) == len(numbers),
                   15, lambda: f"{node}: missing are "
                   f"{sorted(numbers - {int(m.payload) for m in client.messages})[:10]} "
                   f"of {len(numbers)} acknowledged messages")


@case
def what_is_published_right_after_a_start_misses_nobody():
    """Sessions of other nodes, which live all the time; and its own, published to elsewhere."""
    with cluster() as (n1, n2, n3):
        for node in (n2, n3):
            sleeper(node, "far/#").close()
        sleeper(n1, "near/#").close()
        publisher = Publisher(n1)
        near = []
        with Client(n2, version=5) as other:
            def publish_near():
                near.append(other.publish("near/x", b"%d" % len(near), 1))
            for _ in range(ROUNDS):
                n1.kill9()
                n1.start(wait=False)
                publisher.live(SECONDS_OF_A_LIFE, publish_near)
            for pending in near:
                pending.wait()
        figure(f"{ROUNDS} restarts: {len(publisher.acknowledged)} messages acknowledged, "
               f"{len(near)} published elsewhere as soon as the node took clients")
        check(len(near) >= ROUNDS / 2, "the publisher hardly ever came in")
        check(not publisher.nobody, f"acknowledged as wanted by nobody: {publisher.nobody[:10]}")
        for node in (n2, n3):
            check_has(node, set(publisher.acknowledged))
        check_has(n1, set(range(len(near))))


@case
def each_living_node_is_waited_for():
    """The second is slow to answer; the first tells of it."""
    patience = {"cluster.suspect_after_ms": 20000, "cluster.dead_after_ms": 40000}
    with cluster(settings={**patience, "cluster.ready_wait_ms": 60000}) as (n1, n2, n3):
        sleeper(n3, "far/#").close()
        n1.seeds = [n2.cluster_address]
        n1.kill9()
        n3.pause()
        n1.start(wait=False)
        eventually(lambda: n1.sees_alive_and_linked([n1, n2]) and "n3" in n1.peers(), 10,
                   lambda: "n1 is linked with its seed and knows n3")
        time.sleep(0.5)
        check(not takes_clients(n1), "n1 takes clients before it knows the routes of n3")
        status, why = reasons(n1)
        check_equal(status, 503, "/readyz")
        check(any("other nodes" in reason for reason in why), f"/readyz says {why}")
        n3.cont()
        n1.wait_ready()
        with Client(n1, version=5) as client:
            answer = client.publish("far/x", b"1", 1).wait()
            check(answer[:1] in (b"", b"\0"), f"PUBACK {answer.hex()}")
        check_has(n3, {1})


def alone(name, settings):
    node = Member(name, {"cluster.secret": "x", **settings})
    node.seeds = [f"127.0.0.1:{free_port()}"]
    return node


@case
def who_finds_nobody_serves_after_the_wait():
    node = alone("n1", {"cluster.ready_wait_ms": WAIT_MS})
    begun = time.monotonic()
    node.start(wait=False)
    node.wait_log(" started ")
    if time.monotonic() < begun + WAIT_MS / 2000:
        check(not takes_clients(node), "it took clients at once")
        check_equal(reasons(node)[0], 503, "/readyz while it waits")
    node.wait_ready()
    took = time.monotonic() - begun
    check(WAIT_MS / 1000 <= took <= WAIT_MS / 1000 + patient(1), f"ready after {took:.2f} s")
    with Client(node) as client:
        client.publish("x", b"x", 1).wait()
    node.stop()


@case
def who_is_told_not_to_wait_serves_at_once():
    node = alone("n1", {"cluster.ready_wait_ms": 0})
    begun = time.monotonic()
    node.start()
    check(time.monotonic() - begun < patient(2), "it has waited")
    node.stop()


@case
def who_waits_can_be_stopped_and_has_its_port():
    node = alone("n1", {"cluster.ready_wait_ms": 60000})
    node.start(wait=False)
    node.wait_log(" started ")
    check(not takes_clients(node), "it took clients at once")
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", node.port))
            raise Failure("its port can be taken by others while it waits")
        except OSError:
            pass
    took = node.stop()
    check(took < patient(2), f"stopping took {took:.2f} s")


@case
def who_is_cut_off_serves_after_the_wait():
    with machines(settings={"cluster.ready_wait_ms": WAIT_MS}) as (network, (n1, n2, n3)):
        n1.kill9()
        network.cut("n1", "n2")
        network.cut("n1", "n3")
        begun = time.monotonic()
        n1.start()
        took = time.monotonic() - begun
        check(WAIT_MS / 1000 <= took <= WAIT_MS / 1000 + patient(1), f"ready after {took:.2f} s")
        with Client(n1) as client:
            client.publish("x", b"x", 1).wait()
        network.heal()
        eventually(lambda: n1.sees_alive_and_linked([n1, n2, n3]), 10, lambda: "it heals")


@case
def who_can_reach_only_one_is_served_by_it():
    """The third is alive, and its routes come through the second: no reason to wait."""
    with machines(settings={"cluster.ready_wait_ms": 60000}) as (network, (n1, n2, n3)):
        sleeper(n3, "far/#").close()
        n1.kill9()
        network.cut("n1", "n3")
        begun = time.monotonic()
        n1.start()
        figure(f"with a cut to one of two, ready after {time.monotonic() - begun:.2f} s")
        with Client(n1, version=5) as client:
            answer = client.publish("far/x", b"1", 1).wait()
            check(answer[:1] in (b"", b"\0"), f"PUBACK {answer.hex()}")
        check_has(n3, {1})
        check(n1.sees(n2) == "alive", "n2 is alive")
        network.heal()
        eventually(lambda: n1.sees_alive_and_linked([n1, n2, n3]), 10, lambda: "it heals")


@case
def all_that_start_at_once_are_ready_soon():
    nodes = [Member(f"n{i + 1}", {"cluster.secret": "x"}) for i in range(3)]
    for node in nodes:
        node.seeds = [other.cluster_address for other in nodes]
    for _ in range(3):
        for node in nodes:
            node.start(wait=False)
        begun = time.monotonic()
        for node in nodes:
            node.wait_ready()
        took = time.monotonic() - begun
        figure(f"all ready {took:.2f} s after the last was started")
        check(took < patient(2), f"ready after {took:.2f} s")
        for node in nodes:
            node.kill9()


if __name__ == "__main__":
    main()
