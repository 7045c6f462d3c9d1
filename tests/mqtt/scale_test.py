#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many connections, and very much for one who does not read: held, and in bounded memory.

How fast it all is, tests/bench/scale tells.
"""

import json
import pathlib
import resource
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from client import Client, unique
from harness import Node, Skip, at_end, case_of, check, check_equal, main, patient, program
from packets import V5

MIB = 1 << 20
GIB = 1 << 30

CONNECTIONS = 20000
CONNECTIONS_MIN = 10000
DESCRIPTORS_KEPT = 200  # of a process, for everything else

PAYLOAD = bytes(65000)


def memory(node, key):
    with open(f"/proc/{node.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))


def connections_that_can_be_held():
    """Client and server are processes of their own, and each has a descriptor for each."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(CONNECTIONS, limit - DESCRIPTORS_KEPT)
    if count < CONNECTIONS_MIN:
        raise Skip(f"a process may have {limit} descriptors only")
    return count


@case_of(seconds=240)
def twenty_thousand_idle_connections_are_held():
    count = connections_that_can_be_held()
    # An address has ports for 28,000 connections to another one, and two find them sooner.
    node = Node()
    node.listen.append(f"tcp://127.0.0.2:{node.port}")
    node.start()
    done = subprocess.run(
        [program("grapevine"), "bench", "idle", "--connections", str(count), "--duration", "3",
         "--json", "--quiet", "--target", f"127.0.0.1:{node.port}", "--target",
         f"127.0.0.2:{node.port}", "--broker-pid", str(node.pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=patient(200), check=False)
    report = json.loads(done.stdout)
    made = report["connections"]
    check_equal(made["connected"], count, "connected")
    check_equal(made["lost"], 0, "lost while they did nothing")
    check_equal(report["subscriptions"]["granted"], count, "subscriptions")
    each = report["broker"]["bytes_per_connection"]
    print(f"# {count} connections with a subscription: {each:.0f} bytes each")
    check(each < 1200, f"{each:.0f} bytes for a connection with a subscription")
    with Client(("127.0.0.1", node.port), V5) as last:
        last.connect()
        last.ping()


def deaf_subscriber(node, topic, qos):
    deaf = Client(("127.0.0.1", node.port), V5, unique("deaf"), receive_buffer=4096)
    at_end(deaf.cut)
    deaf.connect(keep_alive=0)
    deaf.subscribed(topic, qos=qos)


def neighbours_talk(node):
    topic = unique("neighbours")
    with Client(("127.0.0.1", node.port), V5) as one, Client(("127.0.0.1", node.port), V5) as two:
        one.connect()
        two.connect()
        two.subscribed(topic, qos=1)
        for number in range(100):
            one.publish(topic, str(number), qos=1)
            two.take(topic, str(number).encode())


def gigabyte_that_nobody_reads(qos, grown_max):
    """Of which the publisher gets rid, and every one of the neighbours' messages arrives."""
    node = Node().start()
    topic = unique("flood")
    deaf_subscriber(node, topic, qos)
    before = memory(node, "VmRSS")
    with Client(("127.0.0.1", node.port), V5) as publisher:
        publisher.connect()
        for number in range(GIB // len(PAYLOAD)):
            publisher.publish(topic, PAYLOAD, qos=qos)
            if number % 4000 == 0:
                neighbours_talk(node)
        publisher.ping()
    neighbours_talk(node)
    grown = memory(node, "VmHWM") - before
    print(f"# 1 GiB at QoS {qos} behind a reader that does not read: at most "
          f"{grown / MIB:.0f} MiB more")
    check(grown < grown_max, f"{grown / MIB:.0f} MiB")


@case_of(seconds=240)
def a_gigabyte_at_qos_0_that_nobody_reads_costs_the_output_limit():
    gigabyte_that_nobody_reads(0, 40 * MIB)


@case_of(seconds=240)
def a_gigabyte_at_qos_1_that_nobody_reads_costs_queue_and_window():
    # The queue's 64 MiB, 256 messages in flight of 16 MiB together, the output's 8 MiB.
    gigabyte_that_nobody_reads(1, 140 * MIB)


if __name__ == "__main__":
    main()
