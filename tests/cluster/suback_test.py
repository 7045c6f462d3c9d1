#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who has a SUBACK from one node is reached from every other, at once."""
import time

from client import Client
from harness import case, check, main, patient
from rig import cluster, figure

ROUNDS = 1000


def rounds(count, filter_of, topic_of, qos, unsubscribe=False):
    """Subscribe on one node, publish on the next as soon as the SUBACK is here."""
    with cluster() as members:
        late_before = sum(node.counter("suback_late_total") for node in members)
        clients = [Client(node) for node in members]
        waits = []
        for i in range(count):
            subscriber, publisher = clients[i % 3], clients[(i + 1) % 3]
            begun = time.monotonic()
            subscriber.subscribe(filter_of(i), qos=qos)
            waits.append(time.monotonic() - begun)
            pending = publisher.publish(topic_of(i), b"%d" % i, qos)
            if pending is not None:
                pending.wait()
            if unsubscribe and i % 2:
                # A message at QoS 0 may be under way yet: the count at the end waits for it.
                end = time.monotonic() + patient(10)
                while not has(subscriber, i) and time.monotonic() < end:
                    time.sleep(0.0005)
                subscriber.unsubscribe(filter_of(i))
        end = time.monotonic() + patient(10)
        while count_of(clients) < count and time.monotonic() < end:
            time.sleep(0.02)
        late = sum(node.counter("suback_late_total") for node in members) - late_before
        waits.sort()
        figure(f"SUBACK after {waits[count // 2] * 1000:.1f} ms (median), "
               f"{waits[-1] * 1000:.1f} ms (longest); {late} without all confirmations")
        check(late == 0, f"{late} SUBACKs did not wait for the other nodes")
        got = sorted(int(m.payload) for client in clients for m in client.messages)
        missing = sorted(set(range(count)) - set(got))
        check(not missing, f"{len(missing)} of {count} rounds lost, first {missing[:5]}")
        check(len(got) == count, f"{len(got)} deliveries of {count} messages")


def has(client, i):
    return any(m.payload == b"%d" % i for m in client.messages[-20:])


def count_of(clients):
    return sum(len(client.messages) for client in clients)


@case
def exact_filters_at_qos_0():
    rounds(ROUNDS, lambda i: f"a/{i}", lambda i: f"a/{i}", 0)


@case
def exact_filters_at_qos_1():
    rounds(ROUNDS, lambda i: f"b/{i}", lambda i: f"b/{i}", 1)


@case
def wildcards():
    rounds(ROUNDS, lambda i: (f"c/{i}/#", f"c/+/{i}", f"+/{i}/+/x/#")[i % 3],
           lambda i: (f"c/{i}/x/y", f"c/z/{i}", f"c/{i}/q/x")[i % 3], 1)


@case
def shared_filters():
    rounds(ROUNDS, lambda i: f"$share/group{i % 7}/d/{i}/+", lambda i: f"d/{i}/x", 1)


@case
def filters_that_come_and_go():
    """The same few filters: a withdrawal under way must not swallow the new announcement."""
    rounds(ROUNDS, lambda i: f"e/{i % 6}", lambda i: f"e/{i % 6}", 0, unsubscribe=True)


if __name__ == "__main__":
    main()
