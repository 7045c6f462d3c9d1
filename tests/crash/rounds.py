# SPDX-License-Identifier: Apache-2.0
"""Life after life of one node under load, and what has to be true in the end.

A life begins with a start on the data directory of the last one and ends with SIGKILL (now and then
with SIGTERM) at a random moment: idle, under low or high load, in the middle of a burst, or before
the node has even finished starting.  The clients come back with their sessions.  Every few lives
everything is drained and the ledger is checked.
"""
import json
import os
import random
import subprocess
import time

import harness
from changer import Changer
from device import Site
from ghost import Ghost
from harness import check, patient
from ledger import Ledger
from loop import Loop
from packets import V5, V311
from power import FailingNode
from publisher import Publisher, Route
from retained import Kept, RetainedReader
from scene import takes_signals
from subscriber import Subscriber

PUMP_SECONDS = 0.002
DRAIN_SECONDS = 30
SIGTERM_SECONDS = 5
CHECKED = 0.3  # of the lives: the store is looked at before the next one
BURST_MAX = 12
TOLD_MAX = 3


class Rounds:
    """One run.  `node` is a harness.Node, or has the same start, kill9, stop, pid and process."""

    def __init__(self, node, seed, terms=0.1):
        self.node, self.seed = node, seed
        self._terms = terms  # the share of lives that end with SIGTERM
        self.random = random.Random(seed)
        self.loop = Loop()
        self.ledger = Ledger()
        self.site = Site(self.loop, self.ledger, self.random, ("127.0.0.1", node.port))
        self.counts = self.site.counts
        self.kept = Kept(self.ledger)
        self._is_draining = False
        self._rate = 0        # messages per publisher and pump
        self._readers = 0
        self._make_clients()

    # ---- who takes part

    def _make_clients(self):
        def routes(name, levels, **options):
            return [Route(f"crash/{name}/{qos}/{n}", qos, **options) for qos in levels
                    for n in range(2)] + [Route(f"switch/{name}/{qos}", qos, has_readers=False)
                                          for qos in levels]
        def kept(name, qos, **options):
            return [Route(f"kept/{name}/{n}", qos, retain=True, has_readers=False, **options)
                    for n in range(3)]
        site = self.site
        self.publishers = [
            Publisher(site, "p1", V5, routes("p1", (1,)) + kept("p1", 1), window=50),
            Publisher(site, "p2", V5, routes("p2", (2,)) + kept("p2", 2), window=20, low_ids=True),
            Publisher(site, "p3", V311, routes("p3", (1, 2)) + kept("p3", 1, deletes=True),
                      window=10, low_ids=True),
            Publisher(site, "p4", V311, routes("p4", (2,)) + kept("p4", 2, deletes=True),
                      window=30),
            Publisher(site, "p5", V5, routes("p5", (1, 2)), window=20, clean=True),
        ]
        self.subscribers = [
            Subscriber(site, "s1", V5, "crash/#", 2),
            Subscriber(site, "s2", V311, "crash/#", 2, ack_seconds=0.02),
            Subscriber(site, "s3", V5, "crash/+/1/+", 1, receive_maximum=10, ack_seconds=0.05),
            Subscriber(site, "s4", V311, "crash/#", 1),
            Subscriber(site, "s5", V5, "crash/+/2/#", 2, receive_maximum=5, ack_seconds=0.01),
        ]
        # Those that are away most of the time.
        self.sleepers = [
            Subscriber(site, "s6", V5, "crash/#", 2, receive_maximum=100),
            Subscriber(site, "s7", V311, "crash/p2/2/0", 2),
            Subscriber(site, "s8", V311, "crash/#", 1, ack_seconds=0.01),
        ]
        self.group = [
            Subscriber(site, f"g{n}", V5, "$share/g/crash/+/2/+", 2, receive_maximum=20,
                       ack_seconds=0.01 * n) for n in range(3)]
        filters = ["switch/p1/#", "switch/+/2", "switch/p3/1"]
        self.changers = [Changer(site, "c1", V5, filters, ack_seconds=0.01),
                         Changer(site, "c2", V311, filters)]
        self.ghosts = [Ghost(site, "h1", V5, "crash/#", expires=False),
                       Ghost(site, "h2", V311, "crash/p2/#", expires=False),
                       Ghost(site, "h3", V5, "crash/p3/#", expires=True)]
        self.receivers = [*self.subscribers, *self.sleepers, *self.group, *self.changers]

    # ---- the run

    def run(self, kills):
        """So many lives, and the check of everything.  Raises harness.Failure."""
        self._start()
        self._begin_clients()
        self._pump()
        self._disturb()
        self._change()
        until_drain = self.random.randint(2, 5)
        for _ in range(kills):
            self._life()
            self._end_life()
            self._start()
            until_drain -= 1
            if until_drain == 0:
                self.drain()
                until_drain = self.random.randint(2, 6)
        self.drain()
        self.loop.close()

    def summary(self):
        return ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))

    def _begin_clients(self):
        for client in [*self.publishers, *self.receivers]:
            client.come()
        check(self.loop.run(patient(10), lambda: all(
            client.is_online for client in self.publishers) and all(
            one.is_subscribed for one in [*self.subscribers, *self.sleepers, *self.group])),
            "all clients are connected and subscribed")

    # ---- the node

    def _start(self):
        self.node.start(wait=False)
        self.ledger.note_node("---- the node starts")
        self.site.life += 1
        self.site.is_up = True
        if self.random.random() < 0.15 and self._terms < 1:  # it dies while it starts
            self.loop.run(self.random.random() * 0.1)
            self.counts["kills of a starting node"] += 1
            self._kill()
            self._start()
            return
        if self.random.random() < 0.5:
            self._read_retained()

    def _life(self):
        """Load of some kind, for some time."""
        load = self.random.choice(("idle", "low", "high", "high", "burst"))
        self._rate = {"idle": 0, "low": 0.1, "high": 8, "burst": 0}[load]
        for publisher in self.publishers:
            publisher.holds_releases = self.random.random() < 0.15
        self.loop.run(self.random.choice((0.05, 0.15, 0.4)) * (0.5 + self.random.random()))
        for publisher in self.publishers:
            if self.random.random() < 0.7:
                publisher.release_all()
        if load != "idle":
            self._burst()
        # The node works alone for a moment, from the time of a system call to that of some commits,
        # or goes on together with its clients.
        moment = 10 ** self.random.uniform(-4.5, -2)
        self.loop.flush()
        if self.random.random() < 0.6:
            time.sleep(moment)
        else:
            self.loop.run(moment)

    def _burst(self):
        for publisher in self.publishers:
            for _ in range(min(publisher.room(), self.random.randint(0, BURST_MAX))):
                self._publish(publisher)

    def _end_life(self):
        # Before main() nobody can keep SIGTERM from being a sudden end.
        if self.random.random() < self._terms and takes_signals(self.node):
            self._terminate()
        else:
            self.counts["kills"] += 1
            self._kill()
        self._rate = 0
        for client in [*self.publishers, *self.receivers]:
            if self.random.random() < 0.2:  # it never reads what the node has told it last
                client.cut()
        if self.random.random() < 0.3:
            self.loop.run(self.random.random() * 0.05)
        if self.random.random() < CHECKED:
            self._check_store()

    def _check_store(self):
        """What the node has left is sound, and nothing is left over of what is gone."""
        self.counts["stores checked"] += 1
        if isinstance(self.node, FailingNode):
            self.node.lose_power()
        done = subprocess.run([harness.program("grapevine"), "store", "check", "--json",
                               self.node.data], capture_output=True, check=False, text=True)
        check(done.stdout, f"store check says {done.stderr}")
        checked = json.loads(done.stdout)
        check(checked["damaged"] == 0 and not checked["findings"],
              f"store check finds {checked['damaged']} damaged records: {checked['findings'][:5]}")
        check(checked["tables"]["payloads"]["stray"] == 0, "payloads that no segment refers to")

    def _kill(self):
        self.counts["unacknowledged when it died"] += sum(
            not one.is_settled() for one in self.publishers)
        self.site.is_up = False
        self.node.kill9()
        self.ledger.note_node("---- the node is killed")

    def _terminate(self):
        self.counts["SIGTERMs"] += 1
        self.site.is_up = False
        self.ledger.note_node("---- the node gets SIGTERM")
        self.node.terminate()
        check(self.loop.run(patient(SIGTERM_SECONDS), lambda: not self.node.is_running()),
              "the node ends after SIGTERM, under load")
        check(self.node.process.returncode == 0,
              f"exit status {self.node.process.returncode} after SIGTERM")
        self.ledger.note_node("---- the node has ended")

    # ---- load

    def _pump(self):
        for publisher in self.publishers:
            count = self._rate if self._rate >= 1 else int(self.random.random() < self._rate)
            for _ in range(min(count, publisher.room())):
                self._publish(publisher)
        self.loop.after(PUMP_SECONDS, self._pump)

    def _publish(self, publisher):
        message = publisher.publish()
        if message.topic.startswith("kept/"):
            self.kept.add(message)

    def _disturb(self):
        """Clients come and go while the node is well."""
        client = self.random.choice([*self.publishers, *self.subscribers, *self.group,
                                     *self.changers, *self.sleepers, *self.sleepers])
        if self._is_draining:
            pass
        elif client in self.sleepers and not client.wanted:
            client.come()
        elif client.is_online:
            what = self.random.choice((client.cut, client.change_network, client.leave))
            self.counts["connections lost"] += 1
            what()
            if client not in self.sleepers:
                client.come(self.random.random() * 0.1)
            else:
                client.wanted = False
        self.loop.after(0.01 + self.random.random() * 0.1, self._disturb)

    def _change(self):
        if not self._is_draining:
            self.random.choice(self.changers).change()
        self.loop.after(self.random.random() * 0.04, self._change)

    def _read_retained(self):
        self._readers += 1
        reader = RetainedReader(self.site, f"r{self._readers}", "kept/#", self.kept)
        reader.come()
        return reader

    # ---- the check

    def drain(self):
        """Everything gets to its end, and the ledger is checked."""
        self._rate, self._is_draining = 0, True
        for publisher in self.publishers:
            publisher.release_all()
        for client in [*self.publishers, *self.receivers]:
            client.come()
        if not self.loop.run(patient(DRAIN_SECONDS), self._is_drained):
            self._complain()
        reader = self._read_retained()
        check(self.loop.run(patient(5), lambda: reader.is_done), "retained messages are read")
        self._check_group()
        self.counts["messages checked"] += len(self.ledger.messages)
        self.ledger.forget()
        self.kept.forget()
        for receiver in self.receivers:
            receiver.forget()
        self._is_draining = False

    def _is_drained(self):
        """Everybody is online, has come to the end of its work, and has what it is to have."""
        clients = [*self.publishers, *self.receivers]
        if not all(one.is_online and one.is_settled() for one in clients):
            return False
        return next(self._missing(), None) is None

    def _missing(self):
        """(receiver, message) of what an acknowledged message has not reached."""
        for receiver in [*self.subscribers, *self.sleepers, *self.changers]:
            for message in self.ledger.messages.values():
                if message.acknowledged is not None and message.key not in receiver.seen \
                        and receiver.wants(message):
                    yield receiver, message
        for message in self.ledger.messages.values():
            if message.acknowledged is not None and self.group[0].wants(message) and \
                    not any(message.key in member.seen for member in self.group):
                yield "the shared group", message

    def _check_group(self):
        """At QoS 2 a shared message has been delivered once."""
        for message in self.ledger.messages.values():
            count = sum(member.seen.get(message.key, 0) for member in self.group)
            if count > 1 and message.qos == 2:
                self.ledger.violation(f"the shared group has it {count} times", message)

    def _complain(self):
        missing = list(self._missing())
        if missing:
            self.ledger.violation(
                f"{len(missing)} acknowledged messages are missing, the first: {missing[0][1]} at "
                f"{missing[0][0]}", *dict.fromkeys(message for _, message in missing[:3]))
        for client in [*self.publishers, *self.receivers]:
            check(client.is_online, f"{client} cannot connect")
            if not client.is_settled():
                self.ledger.violation(f"{client} cannot finish: the node has forgotten something",
                                      *client.unfinished()[:3])
        check(False, "not everything was drained, but now it is")


def run(lives, seed, terms=0.1, settings=None, power=False):
    """The run as a test case: on a node of its own, whose data is kept if it fails.

    With `power`, whenever the node ends the power of its machine fails too.
    """
    os.environ.setdefault("GRAPEVINE_TEST_KEEP", "1")
    node = FailingNode(random.Random(seed), settings=settings) if power else \
        harness.Node(settings=settings)
    print(f"# tests/crash/run --kills {lives} --seed {seed}{' --power' if power else ''}"
          f"   # data in {node.data}", flush=True)
    began = time.monotonic()
    rounds = Rounds(node, seed, terms)
    try:
        rounds.run(lives)
    except harness.Failure:
        for told in node.told[-TOLD_MAX:] if power else ():
            print(f"# {told}")
        raise
    finally:
        print(f"# {rounds.summary()}; {time.monotonic() - began:.1f} s", flush=True)
    node.stop()
    if power:
        node.lose_power()
