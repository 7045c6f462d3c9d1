#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM to one node after the other while the others carry traffic."""
import time

from client import Client, end_streams, streams
from harness import case, check, check_equal, main, patient, wait_for
from rig import Watcher, cluster, figure, wait_tables, wait_whole

# A node that leaves says so: nobody has to wait for its silence.
LEFT_AFTER = 0.5


def leave(node, others):
    """SIGTERM; each of the others has to see `left`, from alive, without a suspicion between."""
    watchers = [Watcher(other, node) for other in others]
    time.sleep(0.1)
    begun = time.monotonic()
    took = node.stop()
    for watcher in watchers:
        # After the end of the process at the latest; draining its clients comes before.
        after = watcher.wait_state("left", begun, took + LEFT_AFTER)
        watcher.end()
        states = [row["node_status"] for _, row in watcher.changes]
        check("suspect" not in states and "dead" not in states,
              f"{watcher.viewer.name} saw {node.name} {states}")
        check(after <= took + patient(LEFT_AFTER), f"left only after {after:.2f} s")
    figure(f"SIGTERM: {node.name} ended after {took:.2f} s, was seen as left after {after:.2f} s")


@case
def rolling_restart_under_load():
    with cluster() as nodes:
        for node in nodes:
            others = [other for other in nodes if other is not node]
            a, b = others
            # Subscribers on the node that goes, too: what is for them must not hold up the rest.
            doomed = Client(node)
            doomed.subscribe("doomed/#", "stream/#")
            between = streams([(a, b), (b, a)])
            feeder = Client(a)
            fed = [feeder.publish("doomed/x", b"x", 1) for _ in range(50)]
            time.sleep(0.5)
            leave(node, others)
            check(doomed.closed.wait(patient(5)), "the client of the node that left is still connected")
            for one in fed:
                one.wait()
            started = time.monotonic()
            node.start(wait=False)
            wait_whole(nodes, 10)
            back = time.monotonic() - started
            wait_tables(nodes)
            time.sleep(0.5)
            figure(f"{node.name} is back after {back:.2f} s")
            end_streams(between, f"{node.name} restarted", pause_max=2)


@case
def publisher_on_the_node_that_leaves_is_told_the_truth():
    """What it acknowledges before it goes has arrived elsewhere."""
    with cluster() as (n1, n2, n3):
        subscriber = Client(n2)
        subscriber.subscribe("last/#", qos=2)
        wait_tables([n1, n2, n3])
        for round_number, qos in enumerate((1, 2, 1)):
            publisher = Client(n3, window=1000)
            pending = []
            stop_at = time.monotonic() + 0.5
            while time.monotonic() < stop_at:
                topic, payload = f"last/{round_number}", b"%d" % len(pending)
                pending.append(publisher.publish(topic, payload, qos))
            n3.process.terminate()
            while not publisher.closed.is_set() and len(pending) < 100000:
                try:
                    pending.append(publisher.publish(topic, b"%d" % len(pending), qos))
                except AssertionError:  # closed between the check and the call
                    break
            n3.wait_end()
            acknowledged = [i for i, one in enumerate(pending) if one.is_acknowledged]
            received = lambda: [int(m.payload) for m in list(subscriber.messages)
                                if m.topic == topic]
            deadline = time.monotonic() + patient(5)
            while set(acknowledged) - set(received()) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.3)
            got = received()
            missing = sorted(set(acknowledged) - set(got))
            figure(f"QoS {qos}: {len(acknowledged)} of {len(pending)} acknowledged, "
                   f"{len(got)} arrived")
            check(not missing, f"{len(missing)} acknowledged at QoS {qos} and lost: {missing[:5]}")
            check(got == sorted(set(got)), "doubled or out of order")
            n3.start()
            wait_whole([n1, n2, n3])


@case
def sigterm_at_any_moment():
    """From the first moment on, and while $SYS topics are on their way, which is always."""
    with cluster(settings={"mqtt.sys_interval": "1ms"}) as nodes:
        node = nodes[2]
        node.stop()
        for i in range(40):
            before = len(node.log())
            node.start(wait=False)
            wait_for(lambda: " started " in node.log()[before:], patient(15), "it starts", 0.001)
            time.sleep(0.003 * i)
            node.stop()
        node.start()
        wait_whole(nodes)


@case
def sigterm_while_the_disk_is_busy_for_others():
    """Commits for messages of other nodes are answered when the cluster is gone already."""
    with cluster() as nodes:
        for round_number in range(12):
            node = nodes[round_number % 3]
            sleeping = Client(node, client_id="sleeping", clean=False)
            sleeping.subscribe("busy/#", qos=2)
            sleeping.close()
            wait_tables(nodes)
            others = [other for other in nodes if other is not node]
            publishers = [Client(other, window=100) for other in others for _ in range(2)]
            node.terminate()
            while node.is_running():
                for publisher in publishers:
                    publisher.publish("busy/x", b"x" * 100, 1 + round_number % 2)
            check_equal(node.wait_end(), 0, f"{node} after SIGTERM: exit status")
            for publisher in publishers:
                publisher.close()
            node.start(wait=False)
            wait_whole(nodes)


if __name__ == "__main__":
    main()
