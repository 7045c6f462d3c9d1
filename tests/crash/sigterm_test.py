#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM under the highest load: a quick end, with everything acknowledged on disk."""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

from flood import Flood
from harness import Node, case, check, check_equal, main, patient
from loop import Loop
from scene import connect, payloads_of, sleeper

FLOODS = 4
SECONDS_MAX = 3


def flooded_until_sigterm(size):
    node = Node(settings={"mqtt.queue_messages_max": 10_000_000,
                          "mqtt.queue_bytes_max": "8GiB"}).start()
    sleepers = [sleeper(node, "flood/#", qos=2) for _ in range(2)]
    loop = Loop()
    floods = [Flood(loop, node, number, size) for number in range(FLOODS)]
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        for flood in floods:
            flood.fill()
        loop.run(0.002)
    node.terminate()
    began = time.monotonic()
    check(loop.run(patient(SECONDS_MAX), lambda: not node.is_running()), "the node ends soon")
    took = time.monotonic() - began
    check_equal(node.process.returncode, 0, "exit status")
    loop.run(1, lambda: all(flood.has_ended for flood in floods))
    loop.close()
    acknowledged = sum(flood.acknowledged for flood in floods)
    print(f"# {acknowledged} of {sum(flood.sent for flood in floods)} messages of {size} bytes "
          f"acknowledged, {took:.2f} s from SIGTERM to the end")
    check(acknowledged > 100, "too few to mean anything")

    node.start()
    for client_id in sleepers:
        got = payloads_of(connect(node, client_id), patient(1))
        for flood in floods:
            own = [p for p in got if p.startswith(f"{flood.number}:".encode())]
            check(len(own) >= flood.acknowledged, f"{flood.acknowledged} were acknowledged, "
                  f"{len(own)} have arrived")
            check(own == [flood.payload(i) for i in range(len(own))], "order of messages")


@case
def small_messages():
    flooded_until_sigterm(50)


@case
def large_messages():
    flooded_until_sigterm(20_000)


if __name__ == "__main__":
    main()
