# SPDX-License-Identifier: Apache-2.0
"""One life of a node under load, recorded, and what must be true after a power failure at any moment
of it.

Every client writes down when it sent something and when it was answered, on the clock of the
recording.  After a failure at a moment T

- what was answered before T has to be there: messages for sessions that sleep, in order, retained
  messages, subscriptions, sessions, and the ends of sessions;
- what was not sent before T cannot be there, and nothing is there twice;
- publishers at QoS 2 finish what they had begun, and each message has come once.
"""
import os
import time
from random import Random

import client as raw
import harness
import packets as mqtt
from harness import Failure, check, patient
from ledger import matches
from loop import Connection, Loop
from packets import V5, V311
from power import Recording

HOUR = 3600
SETTLED_SECONDS = 20
QUIET_SECONDS = patient(0.15)
END = b"the end"
NOT_FOUND = 0x92
NEVER = 1 << 63
ANSWERS_MIN = 100
RELEASES_MIN = 10


class Lost(Failure):
    """A promise is broken: what should be there is not, or the other way round."""


def insist(condition, why):
    if not condition:
        raise Lost(why)


def now():
    return time.monotonic_ns()


class Entry:
    """Something that was asked for, and when: ns, NEVER for what has not happened."""

    def __init__(self, what, packet_id=None, topic=None, body=b""):
        self.what, self.packet_id, self.topic, self.body = what, packet_id, topic, body
        self.sent = now()
        self.answered = self.released = self.finished = NEVER


class Member:
    """A client on the loop, with a session that stays."""

    def __init__(self, load, name, version, clean=False):
        self.load, self.name, self.version = load, name, version
        self.entries = []
        self.connack_at = NEVER
        self._dial(clean)

    def _dial(self, clean=False):
        self._connection = Connection(self.load.loop, ("127.0.0.1", self.load.node.port),
                                      self.version, self._on_packet, self._on_end)
        self.send(mqtt.connect(self.version, self.name, clean=clean, keep_alive=0,
                               properties=session(self.version, 0 if clean else HOUR)))

    def send(self, packet):
        self._connection.send(packet)

    def _on_packet(self, packet):
        if packet.kind == mqtt.CONNACK:
            check(packet.reason == 0, f"{self.name} is refused: {packet}")
            self.connack_at = now()
            self.begin()
        else:
            self.on_packet(packet)

    def _on_end(self):
        self.load.has_ended = True

    def begin(self):
        """CONNACK has come."""

    def on_packet(self, packet):
        """Any other packet."""


def session(version, seconds):
    return {"session_expiry": seconds} if version >= V5 else None


class Sender(Member):
    """Publishes to its topics at random, so many at a time.  Their payloads tell them apart."""

    def __init__(self, load, name, version, topics, qos, window, retain=False):
        self._topics, self.qos, self._window, self._retain = topics, qos, window, retain
        self._open = {}
        super().__init__(load, name, version)

    def begin(self):
        for _ in range(self._window):
            self._publish()

    def _publish(self):
        if self.load.is_ending:
            return
        random = self.load.random
        number = len(self.entries)
        body = f"{self.name}:{number} ".encode().ljust(random.choice((20, 60, 200, 3000, 6000)), b".")
        if self._retain and random.random() < 0.3:
            body = b""
        entry = Entry(f"{self.name}:{number}", number % 65535 + 1, random.choice(self._topics), body)
        self.entries.append(entry)
        self._open[entry.packet_id] = entry
        self.send(self.packet_of(entry))

    def packet_of(self, entry, dup=False):
        return mqtt.publish(self.version, entry.topic, entry.body, self.qos, entry.packet_id,
                            retain=self._retain, dup=dup)

    def on_packet(self, packet):
        entry = self._open[packet.packet_id]
        if packet.kind == mqtt.PUBREC:
            entry.answered = now()
            entry.released = now()
            self.send(mqtt.ack(self.version, mqtt.PUBREL, packet.packet_id))
            return
        if packet.kind == mqtt.PUBACK:
            entry.answered = now()
        entry.finished = now()
        del self._open[packet.packet_id]
        self.load.loop.after(self.load.random.random() * 0.004, self._publish)


class Taker(Member):
    """Subscribed to a filter at QoS 2, online; takes what comes.  `entries` are what has come."""

    def __init__(self, load, name, version, topic_filter):
        self.topic_filter, self._open = topic_filter, {}
        super().__init__(load, name, version)

    def begin(self):
        self.send(mqtt.subscribe(self.version, 1, [(self.topic_filter, 2)]))

    def on_packet(self, packet):
        if packet.kind == mqtt.SUBACK:
            self.load.ready += 1
        elif packet.kind == mqtt.PUBLISH:
            entry = Entry(packet.payload.split(b" ")[0].decode(), packet.packet_id)
            self.entries.append(entry)
            self._open[packet.packet_id] = entry
            self.send(mqtt.ack(self.version, mqtt.PUBREC, packet.packet_id))
        elif packet.kind == mqtt.PUBREL:
            self._open.pop(packet.packet_id).released = now()
            self.send(mqtt.ack(self.version, mqtt.PUBCOMP, packet.packet_id))


class Switcher(Member):
    """Subscribes and unsubscribes.  An entry: what is a filter, body whether it was SUBSCRIBE."""

    FILTERS = [f"c/{n}" for n in range(4)]

    def begin(self):
        if self.load.is_ending:
            return
        topic_filter = self.load.random.choice(self.FILTERS)
        last = next((one.body for one in reversed(self.entries) if one.what == topic_filter), False)
        entry = Entry(topic_filter, len(self.entries) % 65535 + 1, body=not last)
        self.entries.append(entry)
        if entry.body:
            self.send(mqtt.subscribe(self.version, entry.packet_id, [(topic_filter, 1)]))
        else:
            self.send(mqtt.unsubscribe(self.version, entry.packet_id, [topic_filter]))

    def on_packet(self, packet):
        self.entries[-1].answered = now()
        self.load.loop.after(self.load.random.random() * 0.005, self.begin)


class Visitor(Member):
    """One session that begins and ends, again and again.  An entry: body whether it begins."""

    def _dial(self, clean=False):
        super()._dial(clean)
        self.entries.append(Entry("end" if clean else "begin", body=not clean))

    def begin(self):
        if self.entries[-1].body:
            self.send(mqtt.subscribe(self.version, 1, [("m/#", 1)]))
        else:
            self._done()

    def on_packet(self, packet):
        if packet.kind == mqtt.SUBACK:
            self._done()

    def _done(self):
        self.entries[-1].answered = now()
        self._connection.close()
        begins = not self.entries[-1].body
        if not self.load.is_ending:
            self.load.loop.after(0.002, lambda: self._dial(clean=not begins))


class Load:
    """The life that is recorded.  Sessions that sleep have subscribed before it begins."""

    def __init__(self, node, random, seconds):
        self.node, self.random = node, random
        self.loop = Loop()
        self.is_ending = self.has_ended = False
        self.ready = 0
        self.sleepers = {"s1": ("m/#", 1, V311), "s2": ("m/#", 2, V5), "s3": ("m/p2/+", 2, V311)}
        for name, (topic_filter, qos, version) in self.sleepers.items():
            sleeper = raw.Client(("127.0.0.1", node.port), version, name)
            sleeper.connect(clean=False, properties=session(version, HOUR))
            sleeper.subscribed(topic_filter, qos=qos)
            sleeper.disconnect()
        self.taker = Taker(self, "t1", V5, "live/#")
        check(self.loop.run(patient(10), lambda: self.ready), "the subscriber is subscribed")
        self.began = now()
        self.senders = [Sender(self, "p1", V311, ["m/p1/0", "m/p1/1"], 1, 8),
                        Sender(self, "p2", V5, ["m/p2/0", "m/p2/1"], 2, 5),
                        Sender(self, "p3", V311, ["live/p3"], 2, 3)]
        self.keeper = Sender(self, "p4", V5, ["kept/0", "kept/1", "kept/2"], 1, 1, retain=True)
        self.switcher = Switcher(self, "c1", V5)
        self.visitors = [Visitor(self, "v1", V5), Visitor(self, "v2", V311)]
        self.loop.run(seconds)
        check(self.loop.run(patient(30), self._is_worth_it), "there is something to look at")
        node.kill9()
        self.ended = now()
        self.is_ending = True
        self.loop.close()

    def _answers(self):
        members = [*self.senders, self.keeper, self.switcher, *self.visitors]
        return [entry.answered for member in members for entry in member.entries
                if entry.answered != NEVER]

    def _releases(self):
        return [entry.released for entry in self.taker.entries if entry.released != NEVER]

    def _is_worth_it(self):
        return len(self._answers()) >= ANSWERS_MIN and len(self._releases()) >= RELEASES_MIN

    def moments(self, count):
        """Moments worth a look: answers have just come, or anything at all."""
        answers, releases = self._answers(), self._releases()
        chosen = [self.random.choice(self.random.choice((answers, answers, releases)))
                  if self.random.random() < 0.8 else
                  self.random.randint(self.began, self.ended) for _ in range(count)]
        return sorted(moment + 1 for moment in chosen)


class Aftermath:
    """The node after a failure at `moment`, and what it has to know."""

    def __init__(self, load, node, moment):
        self._load, self._node, self._moment = load, node, moment

    def check(self):
        """Raises Lost."""
        self._check_sessions()
        self._check_retained()
        for sender in self._load.senders:
            if sender.qos == 2:
                self._finish(sender)
        self._check_switcher()
        self._connect("last", V5, True).publish("m/end", END, 1)
        self._connect("last", V5, True).publish("m/p2/end", END, 1)
        self._connect("last", V5, True).publish("live/end", END, 2)
        for name, (topic_filter, qos, version) in self._load.sleepers.items():
            self._check_sleeper(name, topic_filter, qos, version)
        self._check_taker()

    def _connect(self, name, version, clean=False, present=None):
        new = raw.Client(("127.0.0.1", self._node.port), version, name)
        harness.at_end(new.cut)
        connack = new.connect(clean=clean, properties=session(version, 0 if clean else HOUR))
        insist(present is None or connack.session_present == present,
               f"Session Present of {name} is {connack.session_present}")
        return new

    def _is_answered(self, entry):
        return entry.answered <= self._moment

    def _is_sent(self, entry):
        return entry.sent <= self._moment

    # ---- sessions and subscriptions

    def _in_force(self, entries):
        """Those of which one is in force: the last answered, and those sent after it."""
        sent = [entry for entry in entries if self._is_sent(entry)]
        last = max((i for i, entry in enumerate(sent) if self._is_answered(entry)), default=None)
        return sent[last or 0:], last is None

    def _check_sessions(self):
        for visitor in self._load.visitors:
            entries, may_be_none = self._in_force(visitor.entries)
            possible = {entry.body for entry in entries} | ({False} if may_be_none else set())
            found = self._connect(visitor.name, visitor.version)
            present = found.got[0].session_present
            insist(present in possible, f"Session Present of {visitor.name} is {present}, last was "
                   f"{', '.join(entry.what for entry in entries)}")
            self._connect(visitor.name, visitor.version, True)

    def _check_switcher(self):
        publisher = self._connect("last", V5, True)
        for topic in Switcher.FILTERS:
            publisher.publish(topic, topic, 1)
        answered = any(self._is_answered(entry) for entry in self._load.switcher.entries)
        member = self._connect("c1", V5, present=True if answered else None)
        member.subscribed("c/end", qos=1)
        publisher.publish("c/end", END, 1)
        got = self._payloads(member)
        for topic in Switcher.FILTERS:
            entries, may_be_none = self._in_force(
                [entry for entry in self._load.switcher.entries if entry.what == topic])
            possible = {entry.body for entry in entries} | ({False} if may_be_none else set())
            insist((topic.encode() in got) in possible, f"subscription to {topic}: "
                   f"{topic.encode() in got}, may be: {possible}")

    def _check_retained(self):
        reader = self._connect("last", V5, True).subscribed("kept/#", qos=0)
        while reader.receive(QUIET_SECONDS) is not None:
            pass
        found = {packet.topic: packet.payload for packet in reader.got
                 if packet.kind == mqtt.PUBLISH}
        for topic in ("kept/0", "kept/1", "kept/2"):
            entries, may_be_none = self._in_force(
                [entry for entry in self._load.keeper.entries if entry.topic == topic])
            possible = {entry.body for entry in entries} | ({b""} if may_be_none else set())
            insist(found.get(topic, b"") in possible, f"retained on {topic} is "
                   f"{found.get(topic, b'')[:20]}, may be {[body[:20] for body in possible]}")

    # ---- messages

    def _finish(self, sender):
        """A publisher at QoS 2 comes back and does what the standard wants."""
        begun = [entry for entry in sender.entries if self._is_sent(entry)]
        must_be = any(self._is_answered(entry) for entry in begun)
        back = self._connect(sender.name, sender.version, present=True if must_be else None)
        for entry in begun:
            if entry.finished <= self._moment:
                continue
            if self._is_answered(entry):
                back.ack(mqtt.PUBREL, entry.packet_id)
                reason = back.expect(mqtt.PUBCOMP, packet_id=entry.packet_id).reason
                insist(reason == 0 or reason == NOT_FOUND and entry.released <= self._moment,
                       f"the packet id of {entry.what} is forgotten")
            else:
                back.send(sender.packet_of(entry, dup=True))
                back.expect(mqtt.PUBREC, packet_id=entry.packet_id)
                back.ack(mqtt.PUBREL, entry.packet_id)
                back.expect(mqtt.PUBCOMP, packet_id=entry.packet_id)
        back.cut()

    def _payloads(self, member):
        """What comes until the end, acknowledged."""
        got = []
        while not got or got[-1] != END:
            packet = member.receive()
            insist(packet is not None, f"the last message does not come; {len(got)} came")
            if packet.kind == mqtt.PUBLISH:
                got.append(member.acknowledge(packet).payload)
        return got[:-1]

    def _check_sleeper(self, name, topic_filter, qos, version):
        got = self._payloads(self._connect(name, version, present=True))
        for sender in self._load.senders:
            wanted = [entry for entry in sender.entries
                      if matches(topic_filter, entry.topic) and self._is_sent(entry)]
            own = [payload for payload in got if payload.startswith(sender.name.encode() + b":")]
            # At QoS 2 the publisher has finished all it had sent; at QoS 1 it never came back.
            must = [entry for entry in wanted if self._is_answered(entry) or sender.qos == 2]
            self._check_stream(f"{sender.name} at {name}", own, wanted, must)

    @staticmethod
    def _check_stream(what, got, wanted, must):
        bodies = {entry.body: i for i, entry in enumerate(wanted)}
        missing = [entry.what for entry in must if entry.body not in got]
        insist(not missing, f"{what}: {len(missing)} are missing, the first is {missing[:1]}")
        insist(all(payload in bodies for payload in got), f"{what}: what was not sent has come")
        order = {}
        for payload in got:
            entry = wanted[bodies[payload]]
            insist(order.get(entry.topic, -1) < bodies[payload],
                   f"{what}: {entry.what} comes twice, or out of order")
            order[entry.topic] = bodies[payload]

    def _check_taker(self):
        """Who was online, at QoS 2: gets what it had not got, and nothing that it had released."""
        taker = self._load.taker
        sender = self._load.senders[2]
        before = {entry.what: entry for entry in taker.entries if entry.sent <= self._moment}
        back = self._connect(taker.name, taker.version, present=True)
        got = [payload.split(b" ")[0].decode() for payload in self._payloads(back)]
        insist(len(got) == len(set(got)), "a message of QoS 2 comes twice")
        for what in got:
            insist(what not in before or before[what].released > self._moment,
                   f"QoS 2: {what} comes again, though it was released")
        missing = [entry.what for entry in sender.entries if self._is_sent(entry) and
                   entry.what not in before and entry.what not in got]
        insist(not missing, f"{len(missing)} are missing at {taker.name}: {missing[:1]}")


class Trial:
    """A recorded life; try_moment() is what may be done with it, any number of times."""

    def __init__(self, random, seconds=0.6, settings=None):
        self._random, self._settings = random, settings
        self._place = os.path.realpath(harness.folder("moments"))
        node = harness.Node(settings=settings, data=os.path.join(self._place, "data"))
        self._recording = Recording(node.data, os.path.join(self._place, "recording"))
        node.env.update(self._recording.env())
        node.start()
        self.load = Load(node, random, seconds)
        check(not self.load.has_ended, "the node has closed a connection")

    def try_moment(self, moment):
        """None, or what is lost; a node that does not start has lost everything.

        A Failure is what must not happen whatever was synced: a node that dies of it.
        """
        image = os.path.join(self._place, "image")
        told = self._recording.image(image, moment, self._random)
        node = harness.Node(settings=self._settings, data=image)
        node.start(wait=False)
        try:
            if not self._is_started(node):
                return f"the node does not start: {node.log().splitlines()[-1:]}; {told}"
            Aftermath(self.load, node, moment).check()
        except (Lost, raw.Unexpected, OSError) as lost:
            check(node.is_running(), f"the node has died after this: {told}")
            return f"{lost}, {(moment - self.load.began) / 1e6:.1f} ms after the begin; {told}"
        finally:
            node.kill9()
        return None

    @staticmethod
    def _is_started(node):
        harness.wait_for(lambda: node.is_ready() or not node.is_running(),
                         patient(SETTLED_SECONDS), "the node is ready, or refuses to be")
        if node.is_running():
            return True
        check(0 < node.process.returncode < 128, f"the node ends with {node.process.returncode}")
        return False


def run(count, seed, settings=None):
    """A test case: failures at so many moments of one life.  What a failure leaves is kept."""
    os.environ.setdefault("GRAPEVINE_TEST_KEEP", "1")
    print(f"# tests/crash/run --moments {count} --seed {seed}", flush=True)
    trial = Trial(Random(seed), settings=settings)
    for moment in trial.load.moments(count):
        lost = trial.try_moment(moment)
        check(lost is None, lost)
