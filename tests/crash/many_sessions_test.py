#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A node with very many sleeping sessions is killed and comes back: how long, and how much memory."""
import os
import random
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

import packets as mqtt
from harness import Node, case_of, check, check_equal, main, patient
from packets import V5
from scene import HOUR, connect, memory, payloads_of, status, visitor

SESSIONS = 100_000
QUEUES = 1000
MESSAGES = 20  # in each queue
AT_ONCE = 400
SUBACK = bytes([0x90, 4, 0, 1, 0, 1])  # packet id 1, no properties, QoS 1
WINDOW = 500
# Generous: a busy machine, a slow disk.
SECONDS_PER_100K = 10
BYTES_PER_SESSION = 4096


def client_id(number):
    return f"sleeper-{number:06d}"


def make_sessions(node, numbers):
    """Each connects, subscribes to s/NUMBER, and leaves."""
    sockets = []
    for number in numbers:
        s = socket.create_connection(("127.0.0.1", node.port), timeout=patient(30))
        s.sendall(mqtt.connect(V5, client_id(number), clean=False,
                               properties={"session_expiry": HOUR}) +
                  mqtt.subscribe(V5, 1, [(f"s/{number}", 1)]))
        sockets.append(s)
    for s in sockets:
        answers = b""
        while not answers.endswith(SUBACK):
            chunk = s.recv(4096)
            check(chunk, f"answered {answers}")
            answers += chunk
        s.sendall(mqtt.disconnect(V5))
        s.close()


def fill_queues(node):
    publisher = visitor(node)
    jobs = [(number, i) for i in range(MESSAGES) for number in range(QUEUES)]
    for at in range(0, len(jobs), WINDOW):
        for packet_id, (number, i) in enumerate(jobs[at:at + WINDOW], 1):
            publisher.send(mqtt.publish(V5, f"s/{number}", payload(number, i), 1, packet_id))
        for packet_id in range(1, len(jobs[at:at + WINDOW]) + 1):
            publisher.expect(mqtt.PUBACK, packet_id=packet_id, reason=0)


def payload(number, i):
    return f"message {i} for {number} ".encode().ljust(100, b".")


@case_of(seconds=300)
def a_node_with_many_sleeping_sessions_is_back_soon():
    node = Node().start()
    empty = memory(node)
    began = time.monotonic()
    for first in range(0, SESSIONS, AT_ONCE):
        make_sessions(node, range(first, min(first + AT_ONCE, SESSIONS)))
    print(f"# {SESSIONS} sessions made in {time.monotonic() - began:.1f} s")
    fill_queues(node)
    before = memory(node)
    node.kill9()
    began = time.monotonic()
    node.start()
    took = time.monotonic() - began
    after = memory(node)
    print(f"# {SESSIONS} sessions, {QUEUES} of them with {MESSAGES} messages: ready after "
          f"{took:.2f} s; {(after - empty) / SESSIONS:.0f} bytes a session, "
          f"{(before - empty) / SESSIONS:.0f} before it was killed")
    check_equal(status(node, "sessions"), SESSIONS, "sessions")
    check_equal(status(node, "subscriptions"), SESSIONS, "subscriptions")
    check(took <= patient(1 + SECONDS_PER_100K * SESSIONS / 100_000), f"it took {took:.1f} s")
    check(after - empty <= BYTES_PER_SESSION * SESSIONS, f"it has {after >> 20} MiB")

    chosen = random.Random(SESSIONS)
    publisher = visitor(node)
    for number in chosen.sample(range(QUEUES), 20) + chosen.sample(range(QUEUES, SESSIONS), 20):
        publisher.publish(f"s/{number}", "new", 1)
        c = connect(node, client_id(number))
        check_equal(c.connack.session_present, True, "Session Present")
        waiting = [payload(number, i) for i in range(MESSAGES)] if number < QUEUES else []
        check_equal(payloads_of(c, len(waiting) + 1, 0.05), [*waiting, b"new"],
                    f"messages of {number}")


if __name__ == "__main__":
    main()
