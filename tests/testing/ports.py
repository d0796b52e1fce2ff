"""TCP ports for servers that tests and benches start."""

import itertools
import random
import socket

# The first of the ports that Linux gives to outgoing connections. Those here are below it, so that no
# connection can take one between its choice and the server's start, or while a server restarts.
FIRST_OUTGOING = 32_768
FIRST, END, BLOCK = 12_000, 30_000, 100

_reservations = []
_ports = iter(())


def _reserve_block():
    """The ports of a block that no other process has; it is this one's until the process ends."""
    for first in random.sample(range(FIRST, END, BLOCK), (END - FIRST) // BLOCK):
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0pingti-ports-{first}")
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        return iter(range(first, first + BLOCK))
    raise RuntimeError(f"other processes hold all blocks of ports from {FIRST} to {END}")


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """A port that nobody listens on, given once, and to this process alone (tests/testing/ports.h takes part)."""
    global _ports
    while True:
        for port in _ports:
            if is_free(port):
                return port
        _ports = _reserve_block()


def free_ports(count):
    return list(itertools.islice(iter(free_port, None), count))
