# SPDX-License-Identifier: Apache-2.0
"""What the scripted tests of this folder share: clients of a node with sessions that outlive it."""
import signal

import client as raw
import harness
import packets as mqtt
from harness import check_equal
from packets import V5

HOUR = 3600


def connect(node, client_id=None, version=V5, clean=False, expiry=HOUR, properties=None, **options):
    """A client that has had its CONNACK, in `connack`."""
    new = raw.Client(("127.0.0.1", node.port), version, client_id)
    harness.at_end(new.cut)
    if version >= V5:
        properties = {"session_expiry": expiry, **(properties or {})}
    new.connack = new.connect(clean=clean, properties=properties, **options)
    return new


def visitor(node, version=V5):
    """A client without a session that stays."""
    return connect(node, version=version, clean=True, expiry=0)


def leave(client):
    """Ends its connection, and waits until the node has closed it too."""
    client.disconnect()
    return client.client_id


def sleeper(node, *filters, qos=1, version=V5, client_id=None, expiry=HOUR):
    """The id of an offline session with these subscriptions."""
    return leave(connect(node, client_id, version, expiry=expiry).subscribed(*filters, qos=qos))


def sleepers_apart(node, topic_filter, qos=1):
    """The ids of two offline sessions on two shards, the only ones with this filter."""
    first = sleeper(node, topic_filter, qos=qos)
    while True:
        second = sleeper(node, topic_filter, qos=qos)
        route, = (route for route in node.api("/api/v1/routes")["data"]
                  if route["topic"] == topic_filter)
        if len(route["shards"]) == 2:
            return first, second
        leave(connect(node, second, clean=True, expiry=0))


def status(node, *path):
    """A value of /api/v1/status."""
    value = node.api("/api/v1/status")
    for name in path:
        value = value[name]
    return value


def memory(node):
    """Resident bytes that are the process's own."""
    with open(f"/proc/{node.pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def takes_signals(node):
    """Whether SIGTERM is no sudden end: the program runs, and handles it now or a little later."""
    mask = 0
    with open(f"/proc/{node.pid}/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(("SigBlk:", "SigCgt:")):
                mask |= int(line.split()[1], 16)
    return bool(mask & 1 << (signal.SIGTERM - 1))


def payloads_of(client, least=0, quiet_s=0.3):
    """Takes and acknowledges what comes, at least so many, until nothing has come for a while."""
    got = []
    while (packet := client.receive(quiet_s if len(got) >= least else None)) is not None:
        harness.check(packet.kind == mqtt.PUBLISH, f"expected a message, got {packet}")
        got.append(client.acknowledge(packet).payload)
    return got


def check_payloads(client, expected, what):
    check_equal(payloads_of(client, len(expected)), expected, what)


def kill_and_start(node):
    node.kill9()
    return node.start()
