#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Data directories that a node must not use: it says why and what to do, ends with a status that is
not 0, and changes nothing."""
import os
import random
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "mqtt")]

from harness import Node, Skip, case, check, check_equal, folder, main, program
from scene import sleeper, visitor

NOBODY = 65534


def refused(node, *words):
    """A start that has to fail, in words that have these in them; the last line of its log."""
    node.start(wait=False)
    exit_status = node.wait_end()
    last = node.log().splitlines()[-1]
    check_equal(exit_status, 1, f"exit status ({last})")
    check(last.startswith("grapevined: "), f"the last line is no explanation: {last}")
    for word in words:
        check(word in last, f"{word!r} is not in what it says: {last}")


def data_of(node):
    return os.path.join(node.data, "data.mdb")


def content_of(node):
    with open(data_of(node), "rb") as store:
        return store.read()


def put_content(node, content):
    with open(data_of(node), "wb") as store:
        store.write(content)


def node_with_data():
    """A node that has ended, and has something to lose."""
    node = Node().start()
    sleeper(node, "t/#")
    publisher = visitor(node)
    for i in range(200):
        publisher.publish("t/1", f"{i} " + "x" * 1000, 1)
    node.kill9()
    return node


@case
def a_store_that_cannot_be_trusted_is_refused_and_left_alone():
    node = node_with_data()
    good = content_of(node)
    used = len(good.rstrip(b"\0"))
    spoiled = {
        "truncated": (good[:used // 2], "truncated"),
        "cut within its head": (good[:100], "truncated"),
        "empty": (b"", "missing or empty"),
        "foreign": (random.Random(1).randbytes(len(good)), "not an LMDB file"),
        "a text": (b"not a store\n" * 1000, "not an LMDB file"),
    }
    for what, (content, reason) in spoiled.items():
        put_content(node, content)
        refused(node, data_of(node), reason, "restore it from a backup")
        check_equal(content_of(node) == content, True, f"{what}: left as it was")
    os.unlink(data_of(node))
    refused(node, data_of(node), "missing or empty", "restore it from a backup")
    check(not os.path.exists(data_of(node)), "no empty one takes its place")
    os.mkdir(data_of(node))
    refused(node, data_of(node), "is not a file", "restore it from a backup")
    os.rmdir(data_of(node))
    put_content(node, good)
    node.start()
    node.stop()


# ---- formats ------------------------------------------------------------------------------------


def crc32c(content):
    crc = 0xffffffff
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def format_record(version, body):
    """Key and value of the record "format" (storage/records.c)."""
    head = bytes([0, 0, len(b"format"), version])  # table, size of the key, version
    checksum = crc32c(head + b"format" + body)
    return b"format" + bytes([version]) + struct.pack(">I", checksum) + body


def replace_format(node, version, number):
    content = content_of(node)
    text = subprocess.run([program("grapevined"), "--version"], stdout=subprocess.PIPE, check=True)
    written_by = text.stdout.split()[1]
    rest = bytes([0x12, len(written_by)]) + written_by
    old = format_record(1, b"\x08\x01" + rest)
    check(old in content, "the record of the format is where it is expected")
    put_content(node, content.replace(old, format_record(version, bytes([8, number]) + rest)))


@case
def a_store_of_a_newer_format_is_refused_and_left_alone():
    node = node_with_data()
    good = content_of(node)
    for version, number, reason in ((1, 2, "has format 2"), (2, 1, "a newer Grapevine")):
        replace_format(node, version, number)
        newer = content_of(node)
        refused(node, node.data, reason, "start")
        check(content_of(node) == newer, "left as it was")
        put_content(node, good)
    node.start()
    node.stop()


# ---- what the system does not allow ---------------------------------------------------------------


def as_nobody(node):
    """From now on the node runs as a user who may do nothing; root may do everything."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            raise Skip("needs setpriv, to be another user than root")
        node.launcher = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        done = subprocess.run([*node.launcher, program("grapevined"), "--version"], check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Skip("the build is in a place where other users may not run it")
    return node


def give_all(path, mode):
    """Everything in the directory to nobody, if we are root; the directory gets the mode."""
    if os.geteuid() == 0:
        for name in os.listdir(path):
            os.chown(os.path.join(path, name), NOBODY, NOBODY)
        os.chown(path, NOBODY, NOBODY)
        os.chmod(os.path.dirname(path), 0o755)
    os.chmod(path, mode)


@case
def a_directory_or_file_without_permission_is_refused():
    node = as_nobody(node_with_data())
    give_all(node.data, 0o700)
    os.chmod(data_of(node), 0o000)
    refused(node, node.data, "no permission", "give it to the user")
    os.chmod(data_of(node), 0o400)
    refused(node, node.data, "no permission", "give it to the user")
    os.chmod(data_of(node), 0o600)
    os.chmod(node.data, 0o000)
    refused(node, node.data, "no permission", "give it to the user")
    os.chmod(node.data, 0o700)
    node.start()
    node.stop()


@case
def a_place_where_no_directory_can_be_made_is_refused():
    parent = folder("parent")
    os.chmod(parent, 0o555)
    node = as_nobody(Node(data=os.path.join(parent, "data")))
    refused(node, node.data, "no permission")
    check_equal(os.listdir(parent), [], "what is in its parent")
    os.chmod(parent, 0o755)


@case
def a_path_that_is_no_directory_is_refused():
    parent = folder("parent")
    path = os.path.join(parent, "file")
    with open(path, "wb") as file:
        file.write(b"somebody's")
    refused(Node(data=path), path, "is not a directory", "node.data")
    refused(Node(data=os.path.join(path, "data")), path, "is not a directory", "node.data")
    refused(Node(data=os.path.join(parent, "missing", "data")), "parent is missing", "node.data")
    with open(path, "rb") as file:
        check_equal(file.read(), b"somebody's", "the file")


@case
def a_data_directory_has_one_node():
    node = Node().start()
    second = Node("node2", data=node.data)
    refused(second, node.data, "is in use", "stop that one, or give this node a directory")
    visitor(node).publish("t", "x", 1)
    tool = subprocess.run([program("grapevine"), "store", "check", node.data], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(tool.returncode != 0 and "is in use" in tool.stdout, f"grapevine store: {tool.stdout}")
    node.kill9()
    refused(second, node.data, "belongs to node 'node1'", "start it with that name")
    Node("node1", data=node.data).start()


if __name__ == "__main__":
    main()
