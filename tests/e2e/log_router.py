"""A log router as a container of a task: it reads the configuration that a real one would find, takes
lines where that says, adds what it adds, and writes what it would send, a JSON object a line."""

import json
import os
import pathlib
import signal
import socket
import sys
import threading
import time

import msgpack

out = open("/out/routed", "a", buffering=1)
lock = threading.Lock()


def tell(**what):
    with lock:
        out.write(json.dumps(what) + "\n")


def sections(text):
    """Kind and members of each section of Fluent Bit's configuration."""
    found = []
    for line in text.splitlines():
        if line.startswith("["):
            found.append((line.strip("[]"), []))
        elif line.strip() and not line.startswith("@"):
            found[-1][1].append(line.split(None, 1))
    return found


def matches(pattern, tag):
    return tag.startswith(pattern[:-1]) if pattern.endswith("*") else tag == pattern


def serve(listening, config):
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=talk, args=(connection, config), daemon=True).start()


def talk(connection, config):
    unpacker = msgpack.Unpacker(timestamp=0, strict_map_key=False)
    while data := connection.recv(1 << 16):
        unpacker.feed(data)
        for tag, _, record, *_ in unpacker:
            for kind, members in config:
                if kind == "FILTER" and matches(dict(members)["Match"], tag):
                    record |= dict(v.split(None, 1) for k, v in members if k == "Record")
            for kind, members in config:
                if kind == "OUTPUT" and matches(dict(members)["Match"], tag):
                    tell(tag=tag, output=dict(members), record=record)


def main():
    config = pathlib.Path("/fluent-bit/etc/fluent-bit.conf").read_text()
    external = pathlib.Path("/fluent-bit/etc/external.conf")
    tell(config=config, uid=os.getuid(), expanded=os.path.expandvars(config),
         external=external.read_text() if external.exists() else None)
    parsed = sections(config)
    for kind, members in parsed:
        members = dict(members)
        if kind != "INPUT":
            continue
        if "unix_path" in members:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(members["unix_path"])
        else:
            listening = socket.socket()
            listening.bind((members["Listen"], int(members["Port"])))
        listening.listen()
        threading.Thread(target=serve, args=(listening, parsed), daemon=True).start()

    def stop(*_):
        # What was handed over is read meanwhile, as in Fluent Bit's grace.
        time.sleep(0.5)
        tell(stopped=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    while True:
        signal.pause()


main()
