"""`vitesse serve` as a process: it starts, answers, and finishes what it has taken when it is told to end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vitesse.cli.main import run

Started = Callable[..., AbstractContextManager[tuple[subprocess.Popen[str], int]]]


def under_way(port: int, body: bytes) -> socket.socket:
    """A request that was taken, and half of whose body has arrived."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100")
    connection.sendall(body[: len(body) // 2])
    return connection


def endless(port: int) -> bytes:
    """What a body is answered that states no length and does not end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        with contextlib.suppress(ConnectionError):  # as soon as the service has had enough
            while not select.select([connection], [], [], 0)[0]:
                connection.sendall(chunk)
        return connection.recv(10_000)


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_finishes_what_it_has_taken(started: Started, picture: Callable[..., bytes]) -> None:
    body = picture()
    with started() as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(3):
            connection.request("POST", "/predict", body, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            assert answer.status == 200
            expected = json.loads(answer.read())
        # Whoever sends too much is told so, even in the middle of it.
        connection.request("POST", "/predict", bytes(20_000_001), {"Content-Type": "image/png"})
        answer = connection.getresponse()
        assert answer.status == 413 and b"larger than 20000000 bytes" in answer.read()
        connection.close()
        assert endless(port).startswith(b"HTTP/1.1 413")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        with under_way(port, body) as half:
            process.send_signal(signal.SIGTERM)
            while not refused(port):  # no more are taken
                time.sleep(0.02)
            half.sendall(body[len(body) // 2 :])
            said = b"".join(iter(lambda: half.recv(10_000), b""))
        assert said.startswith(b"HTTP/1.1 200") and b"connection: close" in said
        assert json.loads(said.partition(b"\r\n\r\n")[2]) == expected
        assert process.wait(60) == 0
        assert process.stderr is not None and "Traceback" not in process.stderr.read()
        while any(os.path.exists(f"/proc/{child}") for child in children):  # none is left behind
            time.sleep(0.02)


def test_a_second_interrupt_does_not_wait(started: Started, picture: Callable[..., bytes]) -> None:
    with started() as (process, port), under_way(port, picture()):
        process.send_signal(signal.SIGINT)
        while not refused(port):
            time.sleep(0.02)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_a_port_that_is_taken_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert run(["serve", str(folder), "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert str(port) in error and "in use" in error and "--port 0" in error
