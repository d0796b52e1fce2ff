"""A gRPC client that breaks off where a well-behaved one would go on: raw HTTP/2 frames (RFC 9113)."""

import socket
import struct
import threading

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
INITIAL_WINDOW = 65_535
MAX_FRAME = 16_384


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field without indexing or Huffman code (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


class Http2Peer:
    """One connection. Sends no more than the server's windows allow; a thread reads what comes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.window, self.initial, self.windows, self.closed = INITIAL_WINDOW, INITIAL_WINDOW, {}, set()
        self.ended = False
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
        threading.Thread(target=self.read, daemon=True).start()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.ended = True

    def read(self):
        try:
            stream = self.socket.makefile("rb")
            while len(head := stream.read(9)) == 9:
                payload = stream.read(int.from_bytes(head[:3], "big"))
                self.take(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        except OSError:
            pass
        self.ended = True

    def take(self, kind, flags, stream, payload):
        if kind == WINDOW_UPDATE and stream == 0:
            self.window += int.from_bytes(payload, "big")
        elif kind == WINDOW_UPDATE:
            self.windows[stream] = self.windows.get(stream, 0) + int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & 1:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == 4:
                    self.windows = {one: left + value - self.initial for one, left in self.windows.items()}
                    self.initial = value
            self.send(frame(SETTINGS, 1, 0, b""))
        elif kind == PING and not flags & 1:
            self.send(frame(PING, 1, 0, payload))
        elif kind == RST_STREAM or kind == HEADERS and flags & 1:
            self.closed.add(stream)

    def call(self, stream, path, metadata=()):
        """Opens a call on an odd stream of the client's own choice."""
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "h"), ("te", "trailers"),
                  ("content-type", "application/grpc"), *metadata]
        self.windows[stream] = self.initial
        self.send(frame(HEADERS, 4, stream, b"".join(literal(*field) for field in fields)))

    def message_head(self, stream, length):
        """Announces a message of so many bytes."""
        self.data(stream, b"\0" + struct.pack(">I", length))

    def data(self, stream, content):
        """Sends what the windows have room for now; returns how many bytes that was."""
        sent = 0
        while sent < len(content) and stream not in self.closed and not self.ended:
            size = min(MAX_FRAME, len(content) - sent, self.window, self.windows[stream])
            if size <= 0:
                break
            self.send(frame(DATA, 0, stream, content[sent:sent + size]))
            self.window -= size
            self.windows[stream] -= size
            sent += size
        return sent

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the server was first
        self.socket.close()
