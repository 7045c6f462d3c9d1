#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shared subscriptions over the whole cluster: each message to one member, whatever happens."""
import collections
import time

from client import Client
from harness import case, check, main
from rig import cluster, eventually, figure, machines, wait_routes, wait_tables


def join(node, group, topic_filter, qos, count):
    members = []
    for _ in range(count):
        member = Client(node)
        member.subscribe(f"$share/{group}/{topic_filter}", qos=qos)
        members.append(member)
    return members


def numbers(members):
    return [int(m.payload) for member in members for m in member.messages]


def publish_and_count(publishers, members, topic, qos, first, count):
    """Publishes numbered messages in turn; each has to reach one member."""
    pending = []
    for i in range(first, first + count):
        pending.append(publishers[i % len(publishers)].publish(f"{topic}/{i}", b"%d" % i, qos))
    for one in pending:
        if one is not None:
            one.wait()
    mine = lambda: [n for n in numbers(members) if n >= first]
    eventually(lambda: len(mine()) >= count, 10,
               lambda: f"{count} messages reach the group, {len(mine())} did")
    time.sleep(0.2)
    twice = [n for n, times in collections.Counter(mine()).items() if times > 1]
    check(not twice, f"{len(twice)} messages reached two members, first {twice[:5]}")
    check(len(mine()) == count, f"{len(mine())} deliveries of {count} messages")


def once_each_and_spread(qos):
    with cluster() as nodes:
        members = [join(node, "crew", "job/+", qos, 2) for node in nodes]
        everyone = sum(members, [])
        publishers = [Client(node) for node in nodes]
        publish_and_count(publishers, everyone, "job", qos, 0, 1200)
        shares = [len(member.messages) for member in everyone]
        figure(f"QoS {qos}: 1200 messages to 6 members on 3 nodes: {shares}")
        for node, of_node in zip(nodes, members):
            share = sum(len(m.messages) for m in of_node)
            check(share >= 1200 / 3 / 3, f"the members on {node.name} got {share} of 1200")
        check(min(shares) > 0, f"a member got nothing: {shares}")


@case
def each_message_once_at_qos_0():
    once_each_and_spread(0)


@case
def each_message_once_at_qos_1():
    once_each_and_spread(1)


@case
def each_message_once_at_qos_2():
    once_each_and_spread(2)


@case
def two_groups_and_a_subscriber_get_one_each():
    with cluster() as nodes:
        n1, n2, n3 = nodes
        left = sum((join(node, "left", "news/#", 1, 1) for node in nodes), [])
        right = join(n3, "right", "news/+", 1, 2)
        alone = Client(n2)
        alone.subscribe("news/#")
        publisher = Client(n1)
        for i in range(300):
            publisher.publish(f"news/{i}", b"%d" % i, 1)
        for name, group in (("left", left), ("right", right), ("alone", [alone])):
            eventually(lambda: len(numbers(group)) >= 300, 10,
                       lambda: f"{name} gets 300, got {len(numbers(group))}")
            check(sorted(numbers(group)) == list(range(300)), f"{name} got some twice")


@case
def members_of_a_killed_node_are_passed_over():
    """Once a node is known to be dead, the others' members get everything."""
    with cluster() as (n1, n2, n3):
        rest = join(n1, "crew", "job/+", 1, 1) + join(n2, "crew", "job/+", 1, 1)
        join(n3, "crew", "job/+", 1, 4)
        publishers = [Client(n1), Client(n2)]
        n3.kill9()
        for node in (n1, n2):
            eventually(lambda: node.sees(n3) == "dead", 5, lambda: f"{node.name} sees n3 dead")
        publish_and_count(publishers, rest, "job", 1, 0, 400)
        n3.start()
        back = join(n3, "crew", "job/+", 1, 2)
        wait_tables([n1, n2, n3])
        publish_and_count(publishers, rest + back, "job", 1, 10000, 400)
        check(sum(len(m.messages) for m in back) > 0, "the members on the returned node got nothing")


@case
def what_a_dying_node_had_not_applied_goes_to_a_member_elsewhere():
    """Chosen while it was alive, frozen, then dead: the publisher's word is kept by another."""
    with cluster() as (n1, n2, n3):
        rest = join(n2, "crew", "job/+", 1, 1)
        frozen = join(n3, "crew", "job/+", 1, 4)
        publisher = Client(n1)
        n3.pause()
        pending = [publisher.publish(f"job/{i}", b"%d" % i, 1) for i in range(200)]
        waiting = eventually(lambda: n1.peers()["n3"]["queued_messages"] > 100 and
                             n1.peers()["n3"]["queued_messages"], 2,
                             lambda: "most of 200 messages wait for the frozen node")
        n3.kill9()
        for one in pending:
            one.wait()
        # All acknowledged: so all are with the member that is left, but for what a node on a busy
        # machine has still done while it was being frozen.
        early = set(numbers(frozen))
        eventually(lambda: len(early | set(numbers(rest))) >= 200, 10, lambda:
                   f"200 messages reach the member on n2 ({len(numbers(rest))}) or n3 ({len(early)})")
        check(len(early) < 50, f"{len(early)} messages were taken by a frozen node")
        check(len(numbers(rest)) == len(set(numbers(rest))), "some reached it twice")
        figure(f"{waiting} of 200 messages were for a node that died, and reached another")


@case
def members_that_leave_are_passed_over():
    with cluster() as (n1, n2, n3):
        stays = join(n2, "crew", "job/+", 1, 1)
        leaves = join(n3, "crew", "job/+", 1, 1) + join(n1, "crew", "job/+", 1, 1)
        publisher = Client(n1)
        for member in leaves:
            member.unsubscribe("$share/crew/job/+")
        # The withdrawal is announced with a delay; the receiving node passes back what comes late.
        time.sleep(1)
        publish_and_count([publisher], stays, "job", 1, 0, 200)


@case
def what_a_stored_session_leaves_goes_to_one_elsewhere():
    """What it has not begun; and with it stays what has been begun, at QoS 2."""
    with cluster() as members:
        n1, n2, _ = members
        first = Client(n1, client_id="worker", clean=False)
        first.subscribe("$share/crew/job/+", qos=2)
        first.close()
        wait_routes(members, {n1.name: 1})
        publisher = Client(n1)
        for one in [publisher.publish(f"job/{i}", b"%d" % i, 2) for i in range(300)]:
            one.wait()
        rest = join(n2, "crew", "job/+", 2, 1)
        wait_routes(members, {n1.name: 1, n2.name: 1})
        with Client(n1, client_id="worker", clean=False) as second:
            check(second.is_resumed, "the session is gone")
        eventually(lambda: len(numbers(rest)) > 0, 20, lambda: "nothing has been given away")
        with Client(n1, client_id="worker", clean=False) as third:
            eventually(lambda: set(numbers([second, third] + rest)) == set(range(300)), 20,
                       lambda: f"{len(set(numbers([second, third] + rest)))} of 300 messages")
            both = set(numbers([second, third])) & set(numbers(rest))
            check(not both, f"{len(both)} messages reached two members")
            check(len(set(numbers(rest))) == len(numbers(rest)), "some reached one twice")
        figure(f"{len(numbers(rest))} of 300 messages were given away")


@case
def members_come_and_go_under_load():
    """One member stays; what others did not acknowledge before they went reaches somebody."""
    with cluster() as (n1, n2, n3):
        stays = join(n2, "crew", "job/+", 1, 1)[0]
        publisher = Client(n1)
        heard, pending = [], []
        for turn in range(30):
            guest = Client((n1, n3)[turn % 2])
            guest.subscribe("$share/crew/job/+", qos=1)
            for _ in range(100):
                pending.append(publisher.publish("job/x", b"%d" % len(pending), 1))
                time.sleep(0.0005)
            # Both ways of going away, in the middle of things.
            if turn % 4 < 2:
                guest.unsubscribe("$share/crew/job/+")
            guest.close()
            heard.append(guest)
            for _ in range(50):
                pending.append(publisher.publish("job/x", b"%d" % len(pending), 1))
                time.sleep(0.0005)
        for one in pending:
            one.wait()
        missing = lambda: set(range(len(pending))) - set(numbers([stays, *heard]))
        eventually(lambda: not missing(), 10,
                   lambda: f"each of {len(pending)} reaches somebody; {len(missing())} did not")
        figure(f"{len(pending)} messages, {len(stays.messages)} to the member that stayed, "
               f"{len(numbers([stays, *heard])) - len(pending)} to two")


@case
def group_across_a_cut():
    """Members that only a third node can reach are members all the same."""
    with machines() as (network, (n1, n2, n3)):
        members = sum((join(node, "crew", "job/+", 1, 1) for node in (n1, n2, n3)), [])
        publishers = [Client(n1), Client(n2)]
        network.cut("n1", "n2")
        eventually(lambda: n1.peers()["n2"]["relay"] == "n3" and n2.peers()["n1"]["relay"] == "n3",
                   10, lambda: "n1 and n2 reach each other by n3")
        publish_and_count(publishers, members, "job", 1, 0, 400)
        shares = [len(member.messages) for member in members]
        check(min(shares) > 0, f"a member got nothing: {shares}")


if __name__ == "__main__":
    main()
