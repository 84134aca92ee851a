"""A training on all nodes in plain Python, which DAGs send to them: each has its rows, rank 0 sums up the gradients."""

import json
import math
import os
import socket
import sys
import time
from pathlib import Path
from typing import TextIO

RANK, NODES = int(os.environ["NODE_RANK"]), int(os.environ["NNODES"])
RATE, EPOCHS = float(os.environ.get("LEARNING_RATE", "0.1")), 200
CHECKPOINT = Path(os.environ.get("CHECKPOINT", "/nowhere/checkpoint.json"))
ROWS = [((1.0, a, b), 1 + 2 * a + 3 * b) for i in range(RANK, 500, NODES) for a, b in [(math.sin(i), math.cos(2 * i))]]


def meet(patience: float = 120) -> list[TextIO]:
    """Return what the others are talked to by: all of them for rank 0, rank 0 for each of them."""
    address, end = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), time.monotonic() + patience
    while True:
        try:
            if RANK:
                return [socket.create_connection(address, timeout=patience).makefile("rw")]
            with socket.create_server(address) as server:
                server.settimeout(patience)
                return [server.accept()[0].makefile("rw") for _ in range(NODES - 1)]
        except (ConnectionError, socket.gaierror):  # rank 0 is not there yet, or its name is not
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def loss_and_gradient(weights: list[float]) -> list[float]:
    errors = [(sum(w * x for w, x in zip(weights, xs, strict=True)) - y, xs) for xs, y in ROWS]
    return [sum(e * e for e, _ in errors), *(sum(2 * e * xs[i] for e, xs in errors) for i in range(3))]


others = meet() if NODES > 1 else []
start, weights, loss = json.loads(CHECKPOINT.read_text()) if CHECKPOINT.is_file() else (0, [0.0] * 3, 0.0)
for epoch in range(start, EPOCHS):
    if RANK:
        print(json.dumps(loss_and_gradient(weights)), file=others[0], flush=True)
        weights = json.loads(others[0].readline())
        continue
    shares = [loss_and_gradient(weights), *(json.loads(other.readline()) for other in others)]
    loss, *gradient = [sum(share) / 500 for share in zip(*shares, strict=True)]
    weights = [weight - RATE * slope for weight, slope in zip(weights, gradient, strict=True)]
    for other in others:
        print(json.dumps(weights), file=other, flush=True)
    if epoch % 50 == 0:
        print(f"epoch {epoch}: loss {loss:.6f}", flush=True)
        if CHECKPOINT.parent.is_dir():
            CHECKPOINT.write_text(json.dumps([epoch + 1, weights, loss]))
    if str(epoch) == os.environ.get("TAKEN_AWAY_AT"):
        sys.exit("the node was taken away")
if RANK == 0:
    result = {"learning_rate": RATE, "loss": loss, "weights": weights, "first_epoch": start, "nodes": NODES}
    Path(os.environ["TOGETHER_RESULT_PATH"]).write_text(json.dumps(result))
