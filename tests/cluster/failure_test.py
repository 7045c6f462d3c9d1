#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes die, freeze and come back; everybody else goes on."""
import time

import nodes
from client import Client, Stream
from suite import SLOW, eventually, figure, long_only, main, require, test

DEAD_AFTER = 3.0
BACK_AFTER = 2.0


class Spread:
    """Subscribers and publishers on every node, and what may be expected of them."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.clients = {}
        for node in cluster:
            self.join(node)
        nodes.wait_routes(cluster, {node.name: 3 for node in cluster})

    def join(self, node):
        client = Client(node)
        client.subscribe("to/all", "to/+/some", f"to/{node.name}")
        self.clients[node.name] = client

    def check(self, among, word, seconds=5):
        """Every node reaches every node, by exact filters and by wildcards."""
        payload = word.encode()
        for node in among:
            with Client(node) as publisher:
                for topic in ["to/all", f"to/{node.name}/some"] + [f"to/{n.name}" for n in among]:
                    publisher.publish(topic, payload + b" " + node.name.encode(), 1).wait()
        for node in among:
            expected = 3 * len(among)
            heard = lambda: [m for m in self.clients[node.name].messages
                             if m.payload.startswith(payload)]
            eventually(lambda: len(heard()) >= expected, seconds,
                       lambda: f"{node.name} hears {expected} '{word}', heard {len(heard())}")
            require(len(heard()) == expected, f"{node.name} heard {word} {len(heard())} times")


def notice_death(watchers, since, label):
    for watcher in watchers:
        suspect = watcher.wait_state("suspect", since, DEAD_AFTER)
        dead = watcher.wait_state("dead", since, DEAD_AFTER)
        figure(f"{label}: {watcher.viewer.name} sees {watcher.seen.name} suspect after "
               f"{suspect:.2f} s, dead after {dead:.2f} s")
        require(dead <= DEAD_AFTER * SLOW, f"dead only after {dead:.2f} s")


def notice_return(watchers, since, label):
    for watcher in watchers:
        back = watcher.wait(lambda row: row["node_status"] == "alive" and row["link_up"], since,
                            BACK_AFTER, "alive and linked")
        figure(f"{label}: {watcher.viewer.name} sees {watcher.seen.name} alive after {back:.2f} s")


def streams_between(a, b):
    return [Stream(source, target, qos) for qos in (0, 1) for source, target in ((a, b), (b, a))]


def end_streams(streams, since, bound, label):
    gaps = {stream.name: stream.gap(since) for stream in streams}
    for stream in streams:
        stream.end()
    figure(f"{label}: longest pause " +
           ", ".join(f"{gap * 1000:.0f} ms {name}" for name, gap in gaps.items()))
    require(max(gaps.values()) <= bound * SLOW, f"a pause of {max(gaps.values()):.2f} s")


def forwarded(node):
    return node.counter("forwarded_total")


def forwards_nothing_to(dead, node, streams):
    """Messages only the dead node's subscribers wait for go nowhere, and are acknowledged."""
    sent = lambda: sum(stream.sent for stream in streams if stream.source is node)
    count = 500
    forwarded_before, sent_before = forwarded(node), sent()
    with Client(node) as publisher:
        pending = [publisher.publish(f"to/{dead.name}", b"nobody", 1) for _ in range(count)]
        for one in pending:
            one.wait(2)
    extra = forwarded(node) - forwarded_before - (sent() - sent_before)
    require(extra < count / 10, f"{extra} of {count} messages went to the dead node")
    row = node.peers()[dead.name]
    require(row["queued_messages"] == 0, f"{row['queued_messages']} messages wait for a dead node")


@test
def killed_node_is_noticed_and_comes_back():
    with nodes.Cluster() as cluster:
        n1, n2, n3 = cluster
        spread = Spread(cluster)
        spread.check(cluster, "before")
        streams = streams_between(n1, n2)
        time.sleep(0.5)
        watchers = [nodes.Watcher(n1, n3), nodes.Watcher(n2, n3)]
        killed = time.monotonic()
        n3.kill9()
        notice_death(watchers, killed, "kill -9")
        time.sleep(0.5)
        forwards_nothing_to(n3, n1, streams)
        spread.check([n1, n2], "without n3")
        n3.spawn()
        started = time.monotonic()
        notice_return(watchers, started, "restart")
        nodes.wait_routes([n3], {"n1": 5, "n2": 5}, BACK_AFTER)
        full = time.monotonic() - started
        figure(f"restart: n3 has full tables after {full:.2f} s")
        require(full <= BACK_AFTER * SLOW, f"full tables only after {full:.2f} s")
        spread.join(n3)
        spread.check(cluster, "again")
        end_streams(streams, killed, DEAD_AFTER, "kill -9 and restart")
        for watcher in watchers:
            watcher.end()


def frozen_for(seconds):
    with nodes.Cluster() as cluster:
        n1, n2, n3 = cluster
        spread = Spread(cluster)
        streams = streams_between(n1, n2)
        time.sleep(0.5)
        watchers = [nodes.Watcher(n1, n3), nodes.Watcher(n2, n3)]
        frozen = time.monotonic()
        n3.freeze()
        label = f"stopped for {seconds} s"
        if seconds > DEAD_AFTER:
            notice_death(watchers, frozen, label)
            forwards_nothing_to(n3, n1, streams)
            spread.check([n1, n2], "without n3")
        time.sleep(max(0, frozen + seconds - time.monotonic()))
        n3.thaw()
        thawed = time.monotonic()
        if seconds > DEAD_AFTER:
            notice_return(watchers, thawed, label)
        nodes.wait_complete(cluster, BACK_AFTER)
        # Its clients were connected all the time.
        spread.check(cluster, "again")
        others = n3.peers()
        require(all(row["node_status"] == "alive" for row in others.values()),
                f"the woken node believes {others}")
        require("is dead" not in n3.log(), "the woken node took the others for dead")
        end_streams(streams, frozen, DEAD_AFTER, label)
        for watcher in watchers:
            watcher.end()


@test
def node_stopped_for_1_s():
    frozen_for(1)


@test
def node_stopped_for_5_s():
    frozen_for(5)


@test
def node_stopped_for_10_s():
    frozen_for(10)


@test
def node_stopped_for_30_s():
    long_only()
    frozen_for(30)


@test
def two_of_three_killed():
    with nodes.Cluster() as cluster:
        n1, n2, n3 = cluster
        spread = Spread(cluster)
        stream = Stream(n1, n1, 1)
        watchers = [nodes.Watcher(n1, n2), nodes.Watcher(n1, n3)]
        killed = time.monotonic()
        n2.kill9()
        n3.kill9()
        notice_death(watchers, killed, "two killed")
        forwards_nothing_to(n2, n1, [])
        spread.check([n1], "alone")
        for node in (n3, n2):
            node.spawn()
            since = time.monotonic()
            notice_return([w for w in watchers if w.seen is node], since, "two killed, restart")
            spread.join(node)
        nodes.wait_complete(cluster, BACK_AFTER)
        nodes.wait_routes(cluster, {"n1": 4, "n2": 3, "n3": 3}, BACK_AFTER)
        spread.check(cluster, "again")
        end_streams([stream], killed, 1, "two killed")
        for watcher in watchers:
            watcher.end()


@test
def all_killed_at_once_start_in_any_order():
    with nodes.Cluster() as cluster:
        n1, n2, n3 = cluster
        for order in ([n1, n2, n3], [n3, n2, n1], [n2, n3, n1]):
            Spread(cluster)
            for node in cluster:
                node.process.kill()
            for node in cluster:
                node.kill9()
            for node in order:
                node.spawn()
                time.sleep(0.2)
            since = time.monotonic()
            nodes.wait_complete(cluster, BACK_AFTER)
            figure(f"all killed, started {' '.join(n.name for n in order)}: complete "
                   f"{time.monotonic() - since:.2f} s after the last")
            spread = Spread(cluster)
            spread.check(cluster, "again")


@test
def one_killed_again_and_again():
    """Ten lives of a node in a row, faster than its deaths are noticed."""
    with nodes.Cluster() as cluster:
        n1, n2, n3 = cluster
        spread = Spread(cluster)
        streams = streams_between(n1, n2)
        since = time.monotonic()
        for _ in range(10):
            n3.kill9()
            n3.start()
        nodes.wait_complete(cluster, BACK_AFTER)
        spread.join(n3)
        # What its former lives had subscribed to is gone.
        nodes.wait_routes([n1, n2], {"n3": 3}, BACK_AFTER)
        spread.check(cluster, "again")
        end_streams(streams, since, 1, "one killed ten times")


if __name__ == "__main__":
    main()
