"""Receivers for the log drivers: syslog over each transport, fluentd's forward protocol, journald."""

import os
import pathlib
import socket
import threading

import msgpack


class Receiver:
    """Listens on a thread of its own until it is closed."""

    def __init__(self, listening):
        self.socket, self.messages, self._open = listening, [], []
        listening.settimeout(0.1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self):
        name = self.socket.getsockname()
        return name if isinstance(name, str) else f"127.0.0.1:{name[1]}"

    def _run(self):
        while not self._stop.is_set():
            try:
                self._once()
            except TimeoutError:
                pass

    def _serve(self, connection):
        with connection:
            self._open.append(connection)
            try:
                self.talk(connection)
            except OSError:
                pass

    def _once(self):
        connection, _ = self.socket.accept()
        connection.settimeout(None)
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def close(self):
        getattr(self, "takes", self._stop).set()
        self._stop.set()
        self._thread.join()
        self.socket.close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def listen(where=None):
    """A listening stream socket: of TCP at a port (any one unless told), or at a path."""
    if isinstance(where, (str, pathlib.Path)):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(where))
    else:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", where or 0))
    listening.listen()
    return listening


class Lines(Receiver):
    """Syslog messages over a stream."""

    def talk(self, connection):
        with connection.makefile("rb") as stream:
            for line in stream:
                self.messages.append(line.decode().rstrip("\n"))


class Datagrams(Receiver):
    """A message each."""

    def __init__(self, path=None):
        if path:
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            bound.bind(str(path))
            os.chmod(path, 0o666)
        else:
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bound.bind(("127.0.0.1", 0))
        super().__init__(bound)

    def _once(self):
        self.messages.append(self.socket.recv(1 << 16).decode().rstrip("\n"))


class Forward(Receiver):
    """Fluentd's forward protocol, acknowledging what asks for it."""

    def __init__(self, listening):
        # Cleared, it takes nothing.
        self.takes = threading.Event()
        self.takes.set()
        super().__init__(listening)

    def talk(self, connection):
        self.takes.wait()
        unpacker = msgpack.Unpacker(timestamp=0, strict_map_key=False)
        while data := connection.recv(1 << 16):
            unpacker.feed(data)
            for message in unpacker:
                self.messages.append(message)
                if len(message) > 3 and "chunk" in message[3]:
                    connection.sendall(msgpack.packb({"ack": message[3]["chunk"]}))

    def lines(self, chunks=None):
        """What the messages say; each chunk once, where they have one."""
        seen, found = set(), []
        for message in list(self.messages):
            chunk = message[3]["chunk"] if len(message) > 3 else None
            if chunk is None or chunk not in seen:
                seen.add(chunk)
                found.append(message[2]["log"])
        return found
