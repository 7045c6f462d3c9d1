#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A ledger of everything acknowledged, while links break and nodes freeze.

Publishers on every node number what they publish; subscribers on every node write down what they
get.  At the end: every acknowledged message is there for every subscriber, in the order of its
publisher, at QoS 2 exactly once.  At QoS 1 a message may come twice only where the standard allows
it: never to a connection that was not interrupted, so here it may not either.
"""
import random
import threading
import time

from client import Client
from harness import Failure, case_of, check, main, patient
from rig import (DEAD_AFTER_MS, LONG, cluster, eventually, figure, machines, wait_tables,
                 wait_whole)

SECONDS = 60 if LONG else 5
BEHIND_MAX = 16 << 20  # bytes
# No node dies here but by kill -9.
ALL_LIVE = {"cluster.dead_after_ms": 2 * DEAD_AFTER_MS}


class Account:
    """One publisher: messages on a topic of its own, whenever may_go()."""

    def __init__(self, node, number, qos, every, size, may_go=lambda: True):
        self.topic = f"ledger/{qos}/{node.name}-{number}"
        self.qos, self.pending = qos, []
        self._every, self._filling, self._may_go = every, b"." * size, may_go
        self._client = Client(node, window=100)
        self._ended = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def start(self):
        self._thread.start()

    def _publish(self):
        try:
            while not self._ended.is_set():
                if not self._may_go():
                    self._ended.wait(0.01)
                    continue
                self.pending.append(self._client.publish(
                    self.topic, b"%d " % len(self.pending) + self._filling, self.qos))
                if self._every:
                    self._ended.wait(self._every)
        except Failure as failure:
            self._failure = failure

    def stop(self):
        self._ended.set()

    def end(self):
        self.stop()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        for i, one in enumerate(self.pending):
            check(one.done.wait(patient(20)), f"{self.topic}: message {i} of {len(self.pending)} "
                  "was never acknowledged")
            check(one.is_acknowledged, f"{self.topic}: the connection ended")

    def give_up(self):
        """For a publisher whose node is gone."""
        self._ended.set()
        self._thread.join()


class Ledger:
    """Publishers and subscribers on all nodes."""

    def __init__(self, nodes, every=0.002, size=40):
        self._nodes = nodes
        self._size = size
        self._subscribers = []
        for node in nodes:
            for topic_filter in ("ledger/#", "ledger/+/+"):
                self._subscribers.append(Client(node))
                self._subscribers[-1].subscribe(topic_filter, qos=2)
        self._accounts = [Account(node, number, qos, every, size, self._is_in_step)
                          for node in nodes for qos in (1, 2) for number in range(2)]
        wait_tables(nodes)
        for account in self._accounts:
            account.start()

    def _is_in_step(self):
        """What waits for a session is limited to 64 MiB: the slowest subscriber is not left behind."""
        sent = sum(len(account.pending) for account in self._accounts)
        taken = min(len(subscriber.messages) for subscriber in self._subscribers)
        return (sent - taken) * self._size < BEHIND_MAX

    def check(self, label):
        for account in self._accounts:
            account.stop()
        for account in self._accounts:
            account.end()
        total = sum(len(account.pending) for account in self._accounts)
        for node in self._nodes:
            dropped = node.api("/api/v1/status")["messages"]["dropped"]
            check(not any(dropped.values()), f"{node.name} says that it has dropped {dropped}")
        for subscriber in self._subscribers:
            check(not subscriber.closed.is_set(), f"{subscriber.name}: the connection ended")
            eventually(lambda: len(subscriber.messages) >= total, 15,
                       lambda: f"{subscriber.name} has {total} messages, "
                       f"it has {len(subscriber.messages)}: {self._difference(subscriber)}")
        time.sleep(0.3)
        for subscriber in self._subscribers:
            difference = self._difference(subscriber)
            check(not difference, f"{subscriber.name}: {difference}")
        figure(f"{label}: {total} messages acknowledged, each to {len(self._subscribers)} "
               f"subscribers; {total * len(self._subscribers)} deliveries")

    def _difference(self, subscriber):
        """What is wrong with what it has, in words; '' if nothing."""
        got = {account.topic: [] for account in self._accounts}
        for message in list(subscriber.messages):
            got[message.topic].append(int(message.payload.split()[0]))
        words = []
        for account in self._accounts:
            numbers = got[account.topic]
            missing = sorted(set(range(len(account.pending))) - set(numbers))
            if missing:
                words.append(f"{account.topic}: {len(missing)} of {len(account.pending)} missing, "
                             f"first {missing[:3]}")
            if len(numbers) != len(set(numbers)):
                words.append(f"{account.topic}: {len(numbers) - len(set(numbers))} doubled")
            if numbers != sorted(numbers):
                at = next(i for i in range(1, len(numbers)) if numbers[i] < numbers[i - 1])
                words.append(f"{account.topic}: out of order, {numbers[at - 1]} before {numbers[at]}")
        return "; ".join(words)


@case_of(seconds=240)
def quiet_network():
    with cluster(settings=ALL_LIVE) as nodes:
        ledger = Ledger(nodes)
        time.sleep(3)
        ledger.check("quiet")


@case_of(seconds=240)
def as_fast_as_clients_can():
    with cluster(settings=ALL_LIVE) as nodes:
        ledger = Ledger(nodes, every=0)
        time.sleep(3)
        ledger.check("full speed")


@case_of(seconds=240)
def messages_of_100_kb():
    """They cross links in pieces."""
    with cluster(settings=ALL_LIVE) as nodes:
        ledger = Ledger(nodes, every=0.2, size=100_000)
        time.sleep(3)
        ledger.check("100 kB")


@case_of(seconds=240)
def one_node_freezes_for_300_ms_again_and_again():
    with cluster() as nodes:
        ledger = Ledger(nodes)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            nodes[2].pause()
            time.sleep(0.3)
            nodes[2].cont()
            time.sleep(0.3)
        ledger.check("freezing")
        check(not any("is dead" in node.log() for node in nodes), "300 ms were taken for a death")


@case_of(seconds=240)
def each_node_freezes_in_turn_for_up_to_900_ms():
    with cluster(settings=ALL_LIVE) as nodes:
        seed = random.randrange(1 << 32)
        figure(f"seed {seed}")
        dice = random.Random(seed)
        ledger = Ledger(nodes)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            node = dice.choice(nodes)
            node.pause()
            time.sleep(dice.uniform(0.01, 0.9))
            node.cont()
            time.sleep(dice.uniform(0.01, 0.3))
        ledger.check("freezing in turn")


def flap(label, break_link, every=0.002, size=40):
    with machines(settings=ALL_LIVE) as (network, nodes):
        seed = random.randrange(1 << 32)
        figure(f"seed {seed}")
        dice = random.Random(seed)
        ledger = Ledger(nodes, every=every, size=size)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            break_link(network, dice)
            network.heal()
            time.sleep(dice.uniform(0.05, 0.6))
        wait_whole(nodes, 15)
        ledger.check(label)


def reset_one(network, dice):
    a, b = dice.sample(["n1", "n2", "n3"], 2)
    network.reset(a, b)
    time.sleep(dice.uniform(0.0, 0.3))


def drop_one(network, dice):
    """Longer than a heartbeat, shorter than a suspicion."""
    a, b = dice.sample(["n1", "n2", "n3"], 2)
    network.cut(a, b)
    time.sleep(dice.uniform(0.05, 0.8))


def drop_until_relayed(network, dice):
    a, b = dice.sample(["n1", "n2", "n3"], 2)
    if dice.random() < 0.5:
        network.cut(a, b)
    else:
        network.cut_one_way(a, b)
    time.sleep(dice.uniform(0.8, 2.0))


def last_words(nodes, qos, kill):
    """What nodes[2] acknowledged before it died has arrived on the others, in order and once."""
    subscribers = [Client(node) for node in nodes[:2]]
    for subscriber in subscribers:
        subscriber.subscribe(f"last/{qos}/+", qos=qos)
    wait_tables(nodes)
    accounts = [Account(nodes[2], f"{qos}{i}", qos, 0, 40) for i in range(3)]
    for i, account in enumerate(accounts):
        account.topic = f"last/{qos}/{i}"
        account.start()
    def acknowledged(account):
        return {i for i, one in enumerate(list(account.pending)) if one.is_acknowledged}

    def got(subscriber, account):
        return [int(m.payload.split()[0]) for m in list(subscriber.messages)
                if m.topic == account.topic]
    time.sleep(0.7)
    eventually(lambda: all(len(acknowledged(account)) > 100 for account in accounts), 10,
               lambda: f"QoS {qos}: each publisher has 100 acknowledgements")
    kill()
    for account in accounts:
        account.give_up()
    for subscriber in subscribers:
        for account in accounts:
            promised = acknowledged(account)
            eventually(lambda: promised <= set(got(subscriber, account)), 5, lambda:
                       f"QoS {qos}: {len(promised - set(got(subscriber, account)))} of "
                       f"{len(promised)} acknowledged messages of {account.topic} have not arrived")
    time.sleep(0.3)
    for subscriber in subscribers:
        for account in accounts:
            numbers = got(subscriber, account)
            check(numbers == sorted(set(numbers)), f"QoS {qos}: doubled or out of order")
    figure(f"killed under load, QoS {qos}: " + ", ".join(
        f"{sum(one.is_acknowledged for one in account.pending)} of {len(account.pending)}"
        for account in accounts) + " acknowledged, and all of these arrived")


@case_of(seconds=240)
def publishers_node_is_killed():
    with cluster(settings=ALL_LIVE) as nodes:
        for qos in (1, 2):
            last_words(nodes, qos, nodes[2].kill9)
            nodes[2].start()
            wait_whole(nodes)


@case_of(seconds=240)
def publishers_node_is_cut_off_and_killed():
    """What it has acknowledged cannot be in its own memory, nor in the network's."""
    with machines(settings=ALL_LIVE) as (network, nodes):
        def cut_and_kill():
            network.isolate("n3")
            time.sleep(0.5)
            nodes[2].kill9()
            network.heal()

        for qos in (1, 2):
            last_words(nodes, qos, cut_and_kill)
            nodes[2].start()
            wait_whole(nodes)


@case_of(seconds=240)
def subscribers_node_is_killed_again_and_again():
    """Traffic between the others does not lose anything while a third one dies and returns."""
    with cluster(settings=ALL_LIVE) as nodes:
        ledger = Ledger(nodes[:2])
        for _ in range(6 if not LONG else 40):
            doomed = [Client(nodes[2]) for _ in range(2)]
            for client in doomed:
                client.subscribe("ledger/#", qos=2)
            time.sleep(0.3)
            nodes[2].kill9()
            time.sleep(0.5)
            nodes[2].start()
        ledger.check("a third node killed again and again")


@case_of(seconds=240)
def links_are_reset():
    flap("resets", reset_one)


@case_of(seconds=240)
def links_go_silent_for_a_moment():
    flap("silences", drop_one)


@case_of(seconds=240)
def links_go_silent_until_relays_take_over():
    flap("relays", drop_until_relayed)


@case_of(seconds=240)
def links_are_reset_between_the_pieces_of_big_messages():
    flap("resets, 100 kB", reset_one, every=0.2, size=100_000)


if __name__ == "__main__":
    main()
