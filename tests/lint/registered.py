#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every unit has its tests, and every test runs.

broker/core/session.c is tested by tests/unit/broker/core/session_test.c, or stands in UNTESTED with
the reason.  CMake builds what ends in _test.c; Check runs what is added to a test case: a file or a
test that neither of them would take is a finding.
Run:  tests/lint/registered.py [root]      Exit status 1 and one line per finding.
"""
import os
import re
import sys

import tree

# path: where it is tested instead.
IN_HOUSE = "tests/unit/broker/core/shard_test.c speaks MQTT to whole shards made of it"
IN_DURABLE = "tests/unit/broker/core/durable_test.c: sessions that survive nodes that crash"
AS_NODES = "tests/unit/broker/core/reconcile_test.c: retained messages on three nodes"
AS_COMMAND = "tests/cli/cli_test.py runs the command against mosquitto and servers of its own"
AS_BENCH = "tests/cli/bench_test.py runs it against mosquitto and a server of its own"
AS_LISTS = "tests/cli/admin_lists_test.py runs it against a node"
IN_DIRECTORY = "tests/unit/cluster/core/directory_test.c: directories of several nodes"
AS_NODE = "tests/mqtt and tests/cluster run whole nodes made of it"
UNTESTED = {
    "broker/admin/call.c": "the life of a request: tests/unit/broker/admin/admin_test.c",
    "broker/core/ack_fifo.c": IN_HOUSE,
    "broker/core/client.c": IN_HOUSE,
    "broker/core/hub_deliver.c": "broker/core/hub.h: tests/unit/broker/core/hub_test.c",
    "broker/core/hub_directory.c": "broker/core/claim.c: tests/unit/broker/core/claim_test.c",
    "broker/core/hub_forward.c": "broker/core/hub.h: tests/unit/broker/core/hub_test.c",
    "broker/core/hub_retained.c": AS_NODES,
    "broker/core/office.c": IN_HOUSE,
    "broker/core/outbox_send.c": "broker/core/outbox.h: tests/unit/broker/core/outbox_test.c",
    "broker/core/outbox_write.c": "broker/core/outbox.h: tests/unit/broker/core/outbox_test.c",
    "broker/core/journal.c": IN_DURABLE,
    "broker/core/journal_clean.c": IN_DURABLE,
    "broker/core/journal_done.c": IN_DURABLE,
    "broker/core/journal_part.c": IN_DURABLE,
    "broker/core/journal_read.c": IN_DURABLE,
    "broker/core/on_auth.c": "tests/unit/broker/auth/auth_test.c and tests/mqtt speak to whole shards",
    "broker/core/on_connect.c": IN_HOUSE,
    "broker/core/on_subscribe.c": IN_HOUSE,
    "broker/core/replay.c": IN_HOUSE,
    "broker/core/restore.c": IN_DURABLE,
    "broker/core/retain.c": AS_NODES,
    "broker/core/retain_notes.c": AS_NODES,
    "broker/core/route.c": IN_HOUSE,
    "broker/core/session.c": IN_HOUSE,
    "broker/core/unanswered.c": "tests/unit/broker/core/hub_test.c: other nodes confirm late",
    "broker/node.c": AS_NODE,
    "broker/node_cluster.c": AS_NODE,
    "broker/node_drain.c": AS_NODE,
    "broker/node_members.c": AS_NODE,
    "broker/node_memory.c": AS_NODE,
    "broker/node_listeners.c": AS_NODE,
    "broker/node_publish.c": AS_NODE,
    "broker/node_shard.c": AS_NODE,
    "broker/node_status.c": AS_NODE,
    "broker/node_sys.c": AS_NODE,
    "broker/node_walk.c": AS_NODE,
    "broker/main.c": "a main(); the tests with real processes start it",
    "cluster/core/directory_note.c": IN_DIRECTORY,
    "cluster/core/directory_own.c": IN_DIRECTORY,
    "cluster/core/registrar.c": IN_DIRECTORY,
    "cluster/link/conn.c": "reached through link.h only: tests/unit/cluster/link/link_test.c",
    "cluster/link/dial.c": "reached through link.h only: tests/unit/cluster/link/link_test.c",
    "cluster/status.c": "needs a running cluster: tests/unit/cluster/cluster_test.c",
    "cli/bench.c": AS_BENCH,
    "cli/bench_client.c": AS_BENCH,
    "cli/bench_report.c": AS_BENCH,
    "cli/bench_run.c": AS_BENCH,
    "cli/bench_worker.c": AS_BENCH,
    "cli/check_config.c": AS_COMMAND,
    "cli/clients.c": AS_LISTS,
    "cli/cluster.c": AS_COMMAND,
    "cli/command.c": AS_COMMAND,
    "cli/drain.c": AS_COMMAND,
    "cli/mqtt_client.c": AS_COMMAND,
    "cli/mqtt_client_packets.c": AS_COMMAND,
    "cli/passwd.c": AS_COMMAND,
    "cli/pub.c": AS_COMMAND,
    "cli/retained.c": AS_LISTS,
    "cli/routes.c": AS_LISTS,
    "cli/runner.c": AS_COMMAND,
    "cli/status.c": AS_COMMAND,
    "cli/store.c": "tests/cli/store_test.py runs it on data directories of a node",
    "cli/sub.c": AS_COMMAND,
    "cli/subscriptions.c": AS_LISTS,
    "cli/main.c": "a main(); the tests with real processes start it",
    "storage/inspect_payloads.c": "storage/inspect.h: tests/unit/storage/inspect_test.c",
    "storage/lmdb_read.c": "a store's functions that read: tests/unit/storage/store_test.c",
}

# test: what it tests, when that is not the unit of its name.
FURTHER_TESTS = {
    "tests/unit/broker/core/durable_storm_test.c": "persistent sessions on a node that crashes",
    "tests/unit/broker/core/hub_exact_test.c": "what goes over two nodes and must not come twice",
    "tests/unit/broker/core/hub_overdue_test.c": "what goes over two nodes and is not confirmed for long",
    "tests/unit/broker/core/outbox_exact_test.c": "outbox.c and inbox.c together, when nodes fail",
    "tests/unit/broker/core/router_model_test.c": "broker/core/router.c, against a list of routes",
    "tests/unit/broker/core/shard_storm_test.c": "shards and hub together, with letters in any order",
    "tests/unit/broker/router_concurrency_test.c": "broker/core/router.c, with the threads of base/io",
    "tests/unit/storage/joined_batches_test.c": "storage/join.c at work in both stores",
    "tests/unit/storage/shared_values_test.c": "gv_batch_share() at work in both stores",
}


def test_of(path):
    return "tests/unit/" + path[:-len(".c")] + "_test.c"


def units_without_tests(root, untested):
    for path in tree.files(root, tree.PRODUCT, (".c",)):
        has_test = os.path.exists(os.path.join(root, test_of(path)))
        if path in untested and has_test:
            yield f"{path}:1: has a test; take it out of UNTESTED in tests/lint/registered.py"
        if path not in untested and not has_test:
            yield f"{path}:1: has no {test_of(path)}, and no reason in tests/lint/registered.py"


def tests_that_do_not_run(root):
    for path in tree.files(root, ["tests/unit"], (".c",)):
        if not path.endswith("_test.c"):
            yield f"{path}:1: is not built; the name must end in _test.c"
            continue
        unit = path[len("tests/unit/"):-len("_test.c")]
        if path not in FURTHER_TESTS and not any(
                os.path.exists(os.path.join(root, unit + end)) for end in (".c", ".h")):
            yield f"{path}:1: tests nothing; there is no {unit}.c or .h"
        code = tree.code_only(tree.read(root, path))
        added = set(re.findall(r"\btcase_add_\w+\(\s*\w+\s*,\s*(\w+)", code))
        for number, line in enumerate(code.splitlines(), 1):
            match = re.match(r"\s*START_TEST\(\s*(\w+)\s*\)", line)
            if match and match[1] not in added:
                yield f"{path}:{number}: {match[1]} is not added to a test case"


def findings(root, untested=None):
    yield from units_without_tests(root, UNTESTED if untested is None else untested)
    yield from tests_that_do_not_run(root)


if __name__ == "__main__":
    sys.exit(tree.main(findings, sys.argv))
