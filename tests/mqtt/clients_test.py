#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients people use against one node: mosquitto_pub, mosquitto_sub, and Paho for Python."""
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from client import unique
from harness import Node, Skip, case, check, check_equal, main, patient, program, spawn, wait_for

try:
    import paho.mqtt.client as paho
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions
except ImportError:
    paho = None

VERSIONS = ("mqttv31", "mqttv311", "mqttv5")


# ---- mosquitto's clients ----------------------------------------------------------------------


def command(program, node, *arguments):
    path = shutil.which(program)
    if path is None:
        raise Skip(f"{program} is not installed")
    return [path, "-h", "127.0.0.1", "-p", str(node.port), *map(str, arguments)]


def pub(node, *arguments, payload=None):
    """Runs mosquitto_pub to its end."""
    done = subprocess.run(command("mosquitto_pub", node, *arguments), input=payload,
                          capture_output=True, timeout=patient(20), check=False)
    check(done.returncode == 0, f"mosquitto_pub {arguments}: {done.stderr.decode()}")


class Sub:
    """A running mosquitto_sub whose subscriptions are acknowledged; `lines` is what it prints."""

    def __init__(self, node, *arguments):
        # -d says what the protocol does, into a buffered stdout; messages have a mark in front.
        sub = command("mosquitto_sub", node, "-d", "-F", "> %t %q %r %p", *arguments)
        self.process = spawn(["stdbuf", "-oL", *sub], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        self.lines, self._all = queue.Queue(), []
        self._is_subscribed = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        check(self._is_subscribed.wait(patient(10)), f"mosquitto_sub {arguments}: {self._all}")

    def _read(self):
        for line in self.process.stdout:
            self._all.append(line)
            if line.startswith("> "):
                self.lines.put(line[2:].rstrip("\n"))
            elif line.startswith("Subscribed"):
                self._is_subscribed.set()

    def next(self):
        try:
            return self.lines.get(timeout=patient(10))
        except queue.Empty:
            raise AssertionError(f"no message came: {self._all[-5:]}") from None

    def expect(self, topic, qos, retained, payload):
        check_equal(self.next(), f"{topic} {qos} {int(retained)} {payload}", "message")

    def expect_nothing(self, seconds=0.3):
        time.sleep(seconds)
        check(self.lines.empty(), f"got {list(self.lines.queue)}")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(patient(10))


@case
def mosquitto_in_all_versions_and_qos():
    node = Node().start()
    for sub_version in VERSIONS:
        for sub_qos in (0, 1, 2):
            topic = unique()
            sub = Sub(node, "-V", sub_version, "-q", sub_qos, "-t", f"{topic}/+")
            for pub_version in VERSIONS:
                for pub_qos in (0, 1, 2):
                    payload = f"{pub_version} {pub_qos}"
                    pub(node, "-V", pub_version, "-q", pub_qos, "-t", f"{topic}/x", "-m", payload)
                    sub.expect(f"{topic}/x", min(sub_qos, pub_qos), False, payload)
            sub.end()
    node.stop()


@case
def mosquitto_wildcards():
    node = Node().start()
    subs = {text: Sub(node, "-t", text) for text in ("h/+/t", "h/#", "+/+/+", "#", "h/k/t")}
    for topic, matching in (("h/k/t", list(subs)), ("h/k", ["h/#", "#"]), ("h", ["h/#", "#"]),
                            ("x/y/z", ["+/+/+", "#"]), ("$x/y/z", [])):
        pub(node, "-t", topic, "-m", topic)
        for text in matching:
            subs[text].expect(topic, 0, False, topic)
    for sub in subs.values():
        sub.expect_nothing(0.05)
        sub.end()
    node.stop()


@case
def mosquitto_many_lines_and_a_large_file():
    node = Node().start()
    topic = unique()
    for qos in (0, 1, 2):
        sub = Sub(node, "-t", topic, "-q", qos)
        pub(node, "-t", topic, "-q", qos, "-l", payload=b"".join(b"%d\n" % i for i in range(1000)))
        for i in range(1000):
            sub.expect(topic, qos, False, i)
        sub.end()
    sub = Sub(node, "-t", topic, "-q", 2)
    large = "x" * 900000
    pub(node, "-t", topic, "-q", 2, "-s", payload=large.encode())
    sub.expect(topic, 2, False, large)
    sub.end()
    node.stop()


def check_retained(node, text, wanted, what):
    """A new subscriber finds these: topic to payload."""
    sub = Sub(node, "-t", text)
    found = {}
    while len(found) < len(wanted) or not sub.lines.empty():
        topic, _, is_retained, payload = sub.next().split(" ", 3)
        check_equal(is_retained, "1", "RETAIN")
        found[topic] = payload
        if len(found) == len(wanted):
            time.sleep(0.2)  # is there more?
    sub.end()
    check_equal(found, wanted, what)


@case
def mosquitto_retained_messages_survive_the_end_of_the_node():
    node = Node().start()
    base = unique()
    for version in VERSIONS:
        for qos in (0, 1, 2):
            pub(node, "-V", version, "-r", "-q", qos, "-t", f"{base}/{version}/{qos}", "-m", "old")
            pub(node, "-V", version, "-r", "-q", qos, "-t", f"{base}/{version}/{qos}", "-m", "new")
    pub(node, "-r", "-q", 1, "-t", f"{base}/cleared", "-m", "x")
    pub(node, "-r", "-q", 1, "-t", f"{base}/cleared", "-n")
    wanted = {f"{base}/{version}/{qos}": "new" for version in VERSIONS for qos in (0, 1, 2)}
    check_retained(node, f"{base}/#", wanted, "before")
    node.restart()
    check_retained(node, f"{base}/#", wanted, "after SIGTERM")

    # kill -9 right after PUBACK: what was acknowledged is there, what was cleared is not.
    for i in range(5):
        pub(node, "-r", "-q", 1, "-t", f"{base}/killed", "-m", i)
        pub(node, "-r", "-q", 1, "-t", f"{base}/mqttv5/{i % 3}", "-n")
        wanted.pop(f"{base}/mqttv5/{i % 3}", None)
        node.kill9()
        node.start()
        check_retained(node, f"{base}/#", {**wanted, f"{base}/killed": str(i)}, "after kill -9")
    node.stop()


@case
def mosquitto_wills():
    node = Node().start()
    topic = unique()
    watcher = Sub(node, "-t", f"{topic}/#", "-q", 2)
    for version in VERSIONS:
        for qos in (0, 1, 2):
            sub = Sub(node, "-V", version, "-t", "x", "--will-topic", f"{topic}/{version}",
                      "--will-payload", "gone", "--will-qos", qos)
            sub.end(signal.SIGKILL)
            watcher.expect(f"{topic}/{version}", qos, False, "gone")
    sub = Sub(node, "-t", "x", "--will-topic", f"{topic}/clean", "--will-payload", "gone")
    sub.end()  # it says goodbye
    watcher.expect_nothing()
    sub = Sub(node, "-t", "x", "--will-topic", f"{topic}/kept", "--will-payload", "gone",
              "--will-retain")
    sub.end(signal.SIGKILL)
    watcher.expect(f"{topic}/kept", 0, False, "gone")
    check_retained(node, f"{topic}/kept", {f"{topic}/kept": "gone"}, "retained will")
    watcher.end()
    node.stop()


@case
def mosquitto_wills_with_a_delay():
    node = Node().start()
    for delay in (2, 8, 30):  # until we have been in time
        topic = unique()
        watcher = Sub(node, "-t", topic)
        delayed = ("-V", "mqttv5", "-i", unique(), "-c", "-x", 60, "-t", "x", "--will-topic", topic,
                   "--will-payload", "gone", "-D", "will", "will-delay-interval", delay)
        sub = Sub(node, *delayed)
        killed = time.monotonic()
        sub.end(signal.SIGKILL)
        time.sleep(delay / 4)
        sub = Sub(node, *delayed)
        if time.monotonic() - killed < 0.8 * delay:
            break
    watcher.expect_nothing(delay)
    killed = time.monotonic()
    sub.end(signal.SIGKILL)
    watcher.expect(topic, 0, False, "gone")
    took = time.monotonic() - killed
    check(delay - 0.5 < took < delay + patient(10), f"the will came after {took:.1f} s")
    watcher.end()
    node.stop()


@case
def mosquitto_logs_in_with_a_password():
    made = subprocess.run([program("grapevine"), "passwd"], input=b"open sesame\n",
                          capture_output=True, timeout=patient(20), check=True)
    node = Node(settings={"auth.anonymous": "false",
                          "auth.scram.alice": made.stdout.decode().strip()}).start()
    for version in VERSIONS:
        login = ("-V", version, "-u", "alice", "-P", "open sesame")
        sub = Sub(node, *login, "-t", f"login/{version}")
        pub(node, *login, "-t", f"login/{version}", "-m", "hello", "-q", "1")
        sub.expect(f"login/{version}", 0, False, "hello")
        for wrong in ((), ("-u", "alice"), ("-u", "alice", "-P", "wrong"),
                      ("-u", "bob", "-P", "open sesame")):
            done = subprocess.run(command("mosquitto_pub", node, "-V", version, *wrong, "-t", "a",
                                          "-m", "x"), capture_output=True, timeout=patient(20),
                                  check=False)
            expected = (b"authori" if not wrong else b"name or password")
            check(expected in done.stderr.lower() and done.returncode != 0,
                  f"{version} {wrong}: {done}")
    node.stop()


@case
def mosquitto_share_groups():
    node = Node().start()
    topic = unique()
    members = [Sub(node, "-V", version, "-q", 1, "-t", f"$share/g/{topic}/#")
               for version in ("mqttv5", "mqttv5", "mqttv311")]
    plain = Sub(node, "-q", 1, "-t", f"{topic}/#")
    pub(node, "-q", 1, "-t", f"{topic}/x", "-l", payload=b"".join(b"%d\n" % i for i in range(60)))
    for i in range(60):
        plain.expect(f"{topic}/x", 1, False, i)
    wait_for(lambda: sum(m.lines.qsize() for m in members) >= 60, patient(10), "the group's share")
    time.sleep(0.2)
    got = [int(m.next().split()[3]) for m in members for _ in range(m.lines.qsize())]
    check_equal(sorted(got), list(range(60)), "each message to one member")
    members[0].end(signal.SIGKILL)
    pub(node, "-q", 1, "-t", f"{topic}/x", "-l", payload=b"".join(b"%d\n" % i for i in range(20)))
    wait_for(lambda: sum(m.lines.qsize() for m in members[1:]) == 20, patient(10),
             "the members that are left get all")
    node.stop()


@case
def mosquitto_persistent_sessions():
    node = Node().start()
    for version in VERSIONS:
        topic, client_id = unique(), unique()
        arguments = ["-V", version, "-i", client_id, "-c", "-q", 2, "-t", f"{topic}/+"]
        arguments += ["-x", 300] if version == "mqttv5" else []
        for number in (signal.SIGTERM, signal.SIGKILL):
            sub = Sub(node, *arguments)
            sub.end(number)
            for i in range(50):
                if i < 3:
                    pub(node, "-q", i, "-t", f"{topic}/{i}", "-m", i)
            sub = Sub(node, *arguments)
            expected = ["1", "2"]
            got = [sub.next().split()[3]]
            if got == ["0"]:  # QoS 0 may be kept
                got = []
            while len(got) < 2:
                got.append(sub.next().split()[3])
            check_equal(got, expected, "messages of the time away")
            sub.end(signal.SIGKILL)
    node.stop()


# ---- Paho -------------------------------------------------------------------------------------


class Paho:
    """paho.mqtt.client with queues in place of callbacks."""

    def __init__(self, node, version=None, client_id=None, properties=None, clean=True, will=None):
        if paho is None:
            raise Skip("python3-paho-mqtt is not installed")
        self.version = paho.MQTTv5 if version is None else version
        options = {} if self.version == paho.MQTTv5 else {"clean_session": clean}
        self.client = paho.Client(client_id=client_id or unique(), protocol=self.version, **options)
        self.messages, self.events = queue.Queue(), queue.Queue()
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_connect = lambda *a: self.events.put(("connect", a[3], a[2]))
        self.client.on_subscribe = lambda _c, _u, mid, *a: self.events.put(("subscribe", mid, a[0]))
        self.client.max_inflight_messages_set(100)
        self.client.max_queued_messages_set(0)
        if will:
            self.client.will_set(*will)
        more = {}
        if self.version == paho.MQTTv5:
            more = {"clean_start": clean, "properties": properties}
        self.client.connect("127.0.0.1", node.port, **more)
        self.client.loop_start()
        event, code, self.flags = self.events.get(timeout=patient(10))
        check(event == "connect" and code == 0, f"CONNACK {code}")

    def subscribe(self, *arguments, **options):
        result, mid = self.client.subscribe(*arguments, **options)
        check_equal(result, 0, "subscribe")
        event, got, codes = self.events.get(timeout=patient(10))
        check_equal((event, got), ("subscribe", mid), "SUBACK")
        return [int(getattr(code, "value", code)) for code in codes]

    def publish(self, topic, payload, qos=0, wait=True, **options):
        info = self.client.publish(topic, payload, qos, **options)
        if wait:
            info.wait_for_publish(patient(10))
            check(info.is_published(), "published")
        return info

    def next(self):
        try:
            return self.messages.get(timeout=patient(10))
        except queue.Empty:
            raise AssertionError("no message came") from None

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()

    def come_back(self):
        """A new connection of the same client, which knows what it has received so far."""
        self.client.reconnect()
        self.client.loop_start()
        event, code, self.flags = self.events.get(timeout=patient(10))
        check(event == "connect" and code == 0, f"CONNACK {code}")

    def break_off(self):
        """Ends the connection without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def properties(kind, **values):
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@case
def paho_a_thousand_messages_at_each_qos():
    node = Node().start()
    for version in (3, 4, 5):
        topic = unique()
        for qos in (0, 1, 2):
            sub = Paho(node, version)
            sub.subscribe(topic, qos)
            publisher = Paho(node, version)
            infos = [publisher.publish(topic, str(i), qos, wait=False) for i in range(1000)]
            for i in range(1000):
                message = sub.next()
                check_equal((message.payload, message.qos), (str(i).encode(), qos), "message")
            for info in infos:
                info.wait_for_publish(patient(10))
            check(sub.messages.empty(), "more than was sent")
            publisher.end(), sub.end()
    node.stop()


@case
def paho_comes_back_to_its_session():
    node = Node().start()
    for version in (4, 5):
        topic, client_id = unique(), unique()
        stay = properties(PacketTypes.CONNECT, SessionExpiryInterval=300) if version == 5 else None

        sub = Paho(node, version, client_id, stay, clean=False)
        sub.subscribe(topic, 2)
        publisher = Paho(node, version)
        for round_ in range(6):
            for i in range(50):
                publisher.publish(topic, f"{round_} here {i}", 1 + i % 2)
            if round_ % 2:
                sub.break_off()
            else:
                sub.end()
            for i in range(50):
                publisher.publish(topic, f"{round_} away {i}", 1 + i % 2)
            sub.come_back()
            check_equal(sub.flags["session present"], 1, "Session Present")
        wanted = {f"{round_} {where} {i}".encode()
                  for round_ in range(6) for where in ("here", "away") for i in range(50)}
        received = []
        while set(received) != wanted:
            received.append(sub.next().payload)
        time.sleep(0.2)
        received += [message.payload for message in sub.messages.queue]
        twice = [p for p in set(received) if received.count(p) > 1 and int(p.split()[2]) % 2]
        check_equal(twice, [], "QoS 2 messages that came twice")
        publisher.end(), sub.end()
    node.stop()


@case
def paho_properties_of_a_message():
    node = Node().start()
    topic = unique()
    sub = Paho(node)
    sub.subscribe(topic, options=SubscribeOptions(qos=1), properties=properties(
        PacketTypes.SUBSCRIBE, SubscriptionIdentifier=300))
    publisher = Paho(node)
    publisher.publish(topic, "hello", 1, properties=properties(
        PacketTypes.PUBLISH, PayloadFormatIndicator=1, MessageExpiryInterval=60,
        ContentType="text/plain", ResponseTopic="answer/here", CorrelationData=b"\x00\x01\xff",
        UserProperty=[("a", "1"), ("b", "2"), ("a", "3")]))
    got = sub.next().properties
    check_equal((got.PayloadFormatIndicator, got.ContentType, got.ResponseTopic,
                 got.CorrelationData, got.UserProperty, got.SubscriptionIdentifier),
                (1, "text/plain", "answer/here", b"\x00\x01\xff",
                 [("a", "1"), ("b", "2"), ("a", "3")], [300]), "properties")
    check(0 < got.MessageExpiryInterval <= 60, "expiry")

    for _ in range(3):  # the alias is set by the first and used by the others
        publisher.publish(topic, "aliased", 1, properties=properties(PacketTypes.PUBLISH,
                                                                     TopicAlias=5))
        check_equal(sub.next().topic, topic, "topic")
    sub.end(), publisher.end()
    node.stop()


@case
def paho_subscribe_options():
    node = Node().start()
    topic = unique()
    c = Paho(node)
    check_equal(c.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True)), [1], "grant")
    c.publish(topic, "own", 1)
    other = Paho(node)
    other.publish(topic, "foreign", 1, retain=True)
    message = c.next()
    check_equal((message.payload, message.retain), (b"foreign", False), "message")
    kept = Paho(node)
    kept.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=2))
    other.publish(topic, "again", 1, retain=True)
    message = kept.next()
    check_equal((message.payload, message.retain), (b"again", True), "as published")
    check_equal(kept.subscribe([("$share//x", SubscribeOptions(qos=1)),
                                ("ok", SubscribeOptions(qos=2))]), [0x8f, 2], "codes")
    for one in (c, other, kept):
        one.end()
    node.stop()


@case
def paho_many_clients_in_a_ring():
    """Each hands a message on to the next: all shards, all versions, all QoS, several laps."""
    node = Node().start()
    base, count, laps = unique(), 24, 20
    ring = [Paho(node, (3, 4, 5)[i % 3]) for i in range(count)]
    done = threading.Event()

    def hand_on(i):
        def on_message(client, _userdata, message):
            steps = int(message.payload) + 1
            if steps >= count * laps:
                done.set()
            else:
                client.publish(f"{base}/{(i + 1) % count}", str(steps), i % 3)
        return on_message

    for i, member in enumerate(ring):
        member.client.on_message = hand_on(i)
        member.subscribe(f"{base}/{i}", 2)
    ring[0].publish(f"{base}/0", "0", 1)
    check(done.wait(patient(30)), "the message was lost on its way")
    for member in ring:
        member.end()
    node.stop()


if __name__ == "__main__":
    main()
