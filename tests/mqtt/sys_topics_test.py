#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a node tells of itself: $SYS/broker/... as Mosquitto does, /metrics as Prometheus takes it."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import packets as mqtt
from client import Client, unique
from harness import Node, case, check, check_equal, main, patient, wait_for
from packets import V5, V311

SPANS = ("1min", "5min", "15min")
LOADS = ("messages/received", "messages/sent", "publish/dropped", "publish/received",
         "publish/sent", "bytes/received", "bytes/sent", "sockets", "connections")
# What mosquitto 2.0 publishes.
NUMBERS = (
    "clients/total clients/maximum clients/connected clients/disconnected clients/active "
    "clients/inactive clients/expired messages/received messages/sent messages/stored "
    "store/messages/count store/messages/bytes subscriptions/count shared_subscriptions/count "
    "publish/messages/dropped publish/messages/received publish/messages/sent "
    "publish/bytes/received publish/bytes/sent bytes/received bytes/sent "
    "heap/current heap/maximum").split() + ["retained messages/count"]
FORMS = {"$SYS/broker/version": r"\S+ version [0-9.]+", "$SYS/broker/uptime": r"\d+ seconds",
         **{f"$SYS/broker/{name}": r"\d+" for name in NUMBERS},
         **{f"$SYS/broker/load/{name}/{span}": r"\d+\.\d\d" for name in LOADS for span in SPANS}}


def joined(node, version=V5, **options):
    client = Client(("127.0.0.1", node.port), version)
    client.connect(**options)
    return client


class Watcher:
    """Hears all of $SYS/broker; `values` has the latest."""

    def __init__(self, node):
        self.client = joined(node).subscribed("$SYS/broker/#")
        self.values, self.live = {}, set()

    def hear(self):
        while (packet := self.client.receive(0.02)) is not None:
            self.values[packet.topic] = packet.payload.decode()
            if not packet.retain:
                self.live.add(packet.topic)

    def wait(self, condition, what):
        def holds():
            self.hear()
            return condition()
        wait_for(holds, patient(10), what)

    def number(self, name):
        return int(self.values.get("$SYS/broker/" + name, -1))


@case
def all_that_mosquitto_says_is_said():
    node = Node(settings={"mqtt.sys_interval": "100ms"}).start()
    watcher = Watcher(node)
    watcher.wait(lambda: set(FORMS) <= set(watcher.values), "all topics")
    wrong = {topic: watcher.values[topic] for topic, form in FORMS.items()
             if not re.fullmatch(form, watcher.values[topic])}
    check_equal(wrong, {}, "values of another form")
    watcher.live.clear()
    watcher.wait(lambda: "$SYS/broker/uptime" in watcher.live, "another interval")
    check("$SYS/broker/version" not in watcher.live, "what does not change is not said again")


@case
def numbers_are_those_of_what_happens():
    node = Node(settings={"mqtt.sys_interval": "100ms"}).start()
    watcher = Watcher(node)
    topic = unique()
    publisher = joined(node, version=V311)
    stays = joined(node, properties={"session_expiry": 1})
    stays.subscribed(topic, f"$share/g/{topic}/other", qos=1)
    publisher.publish(topic, b"x" * 1000, qos=1, retain=True)
    stays.take(topic)

    def has(**numbers):
        return all(watcher.number(name.replace("__", "/")) == value
                   for name, value in numbers.items())
    watcher.wait(lambda: has(clients__connected=3, clients__maximum=3, subscriptions__count=3,
                             shared_subscriptions__count=1, publish__messages__received=1,
                             publish__bytes__received=1000), "clients and subscriptions")
    watcher.wait(lambda: watcher.number("publish/bytes/sent") > 1000, "payload bytes sent")
    watcher.wait(lambda: watcher.number("store/messages/bytes") > 1000, "retained bytes")
    # CONNECT three times, SUBSCRIBE twice, PUBLISH, PUBACK
    watcher.wait(lambda: has(messages__received=7), "packets of all kinds are counted")
    stays.disconnect()
    watcher.wait(lambda: has(clients__connected=2, clients__expired=1, clients__total=2,
                             shared_subscriptions__count=0), "a session that expires")


@case
def metrics_are_what_prometheus_takes():
    node = Node().start()
    status, text = node.http("/metrics")
    check_equal(status, 200, "status")
    families, series, family = {}, set(), None
    for line in text.decode().splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            check(family not in families, f"{family} is there twice")
        elif line.startswith("# TYPE "):
            check_equal(line.split()[2], family, "the family of TYPE")
            families[family] = line.split()[3]
            check_equal(families[family] == "counter", family.endswith("_total"), family)
        else:
            parts = re.fullmatch(r'(\w+)(\{(?:\w+="[^"\\\n]*",?)+\})? ([-+.0-9e]+)', line)
            ends = ("_bucket", "_sum", "_count") if families[family] == "histogram" else ("",)
            check(parts is not None and parts[1] in [family + end for end in ends], line)
            check(parts.groups()[:2] not in series, f"twice: {line}")
            series.add(parts.groups()[:2])
    check(len(series) > 80, f"only {len(series)} series")


@case
def nobody_else_speaks_there():
    node = Node(settings={"mqtt.sys_interval": "0", "mqtt.client_events": "false"}).start()
    watcher = Watcher(node)
    watcher.client.subscribed("$SYS/#", "$SYS")
    client = joined(node)
    for topic in ("$SYS", "$SYS/broker/uptime", "$SYS/x"):
        check_equal(client.publish(topic, b"lie", qos=1).reason, 0x87, topic)
        client.publish(topic, b"lie", retain=True)
    client.ping()
    watcher.hear()
    check_equal(watcher.values, {}, "what came through")
    mine = joined(node).subscribed("$SYSTEM")
    check_equal(client.publish("$SYSTEM", b"fine", qos=1).reason, 0, "another name")
    mine.expect(mqtt.PUBLISH, topic="$SYSTEM")


if __name__ == "__main__":
    main()
