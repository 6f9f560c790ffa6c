"""What takes too long, and what is too much at once."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time
from collections.abc import Callable
from typing import Any

Picture = Callable[..., bytes]
PNG = {"content-type": "image/png"}


def test_a_full_queue_says_so(service: Any, picture: Picture, decoders: Callable[[], list[Any]]) -> None:
    with service(queue=2) as client, concurrent.futures.ThreadPoolExecutor(3) as pool:
        process = decoders()[0].pid
        os.kill(process, signal.SIGSTOP)
        two = [pool.submit(client.post, "/predict", content=picture(), headers=PNG) for _ in range(2)]
        while "vitesse_images_taken 2.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        refused = client.post("/predict", content=picture(), headers=PNG)
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        assert "no room for 1 more" in refused.json()["error"]
        os.kill(process, signal.SIGCONT)
        assert [one.result().status_code for one in two] == [200, 200]
        three = client.post("/predict", files=[("i", (f"{at}.png", picture())) for at in range(3)])
        assert three.status_code in (400, 429)
        assert client.post("/predict", content=picture(), headers=PNG).status_code == 200
        assert 'vitesse_requests_total{status="429"}' in client.get("/metrics").text


def test_an_overdue_picture_is_refused_and_its_process_replaced(
    service: Any, picture: Picture, decoders: Callable[[], list[Any]]
) -> None:
    with service(decode_s=1.0) as client:
        process = decoders()[0].pid
        os.kill(process, signal.SIGSTOP)
        refused = client.post("/predict", files={"i": ("slow.png", picture())})
        assert refused.status_code == 504 and "slow.png: The picture took longer" in refused.json()["error"]
        assert [one.pid for one in decoders()] != [process]
        assert "vitesse_decoders_replaced_total 1.0" in client.get("/metrics").text
        assert client.post("/predict", content=picture(), headers=PNG).status_code == 200
