"""
The endpoints under ``/_emulator/``, by which other processes command an emulator and look into it.

They need no key. Bodies and answers are JSON; wrong ones get 400 and ``{"error": "…"}``. Times are simulated epoch
seconds.

=======================================  ==========================================================================
``GET /_emulator/health``                ``{"status": "ok", "now": …, "speed": …, "clusters_alive": …}``
``GET /_emulator/clusters``              ``{"clusters": […]}``, fields of ``ClusterView``; ``?alive=true`` for those
                                         that still bill
``GET /_emulator/volumes``               ``{"volumes": […]}``, fields of ``VolumeView``
``GET /_emulator/ledger``                ``{"gpu_hours": …, "clusters": […]}``
``GET /_emulator/requests``              ``{"requests": […]}``, fields of ``RequestRecord``
``GET /_emulator/faults``                ``{"faults": […]}``: those in force, with ``left``
``POST /_emulator/faults``               fields of ``Fault``, of one or of a list of several; answers like ``GET``
``DELETE /_emulator/faults``             nothing goes wrong any more
``POST /_emulator/advance``              ``{"seconds": N}``; answers ``{"now": …}``
``POST /_emulator/clusters/ID/status``   ``{"status": "READY"}``, any word of either dialect, or another word
``POST /_emulator/clusters/ID/fail``     the cluster fails now; ``{"nccl": true}`` for the NCCL tests
``POST /_emulator/reset``                forget clusters, volumes, faults and requests
=======================================  ==========================================================================

Separate from ``app.py``, because this is no part of what is emulated. It imports Starlette.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_together.emulator.errors import UnknownResourceError
from airflow_provider_together.emulator.faults import Fault
from airflow_provider_together.emulator.simulation import Simulation, to_json

_WRONG, _MISSING = 400, 404


def control_routes(simulation: Simulation) -> list[Route]:
    """Return the endpoints that command an emulated cloud."""
    control = _Control(simulation)
    table: list[tuple[str, str, Callable[[Request, Any], Any]]] = [
        ("GET", "health", control.health),
        ("GET", "clusters", control.clusters),
        ("GET", "volumes", control.volumes),
        ("GET", "ledger", control.ledger),
        ("GET", "requests", control.requests),
        ("GET", "faults", control.faults),
        ("POST", "faults", control.inject),
        ("DELETE", "faults", control.clear_faults),
        ("POST", "advance", control.advance),
        ("POST", "clusters/{cluster_id}/status", control.set_status),
        ("POST", "clusters/{cluster_id}/fail", control.fail),
        ("POST", "reset", control.reset),
    ]
    routes = [Route(f"/_emulator/{path}", _endpoint(run), methods=[method]) for method, path, run in table]
    return [*routes, Route("/_emulator/{path:path}", _endpoint(control.nothing), methods=["GET", "POST", "DELETE"])]


class _Control:
    """What each endpoint does: from the request and its JSON body to what is answered."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def health(self, _request: Request, _body: Any) -> Any:
        simulation = self._simulation
        now, alive = simulation.clock.now(), len(simulation.alive())
        return {"status": "ok", "now": now, "speed": simulation.clock.speed, "clusters_alive": alive}

    def clusters(self, request: Request, _body: Any) -> Any:
        only_alive = request.query_params.get("alive", "false").lower() in ("true", "1")
        clusters = self._simulation.alive() if only_alive else self._simulation.clusters()
        return {"clusters": [to_json(cluster) for cluster in clusters]}

    def volumes(self, _request: Request, _body: Any) -> Any:
        return {"volumes": [to_json(volume) for volume in self._simulation.volumes()]}

    def ledger(self, _request: Request, _body: Any) -> Any:
        return to_json(self._simulation.ledger())

    def requests(self, _request: Request, _body: Any) -> Any:
        return {"requests": [to_json(record) for record in self._simulation.requests]}

    def faults(self, _request: Request, _body: Any) -> Any:
        return {"faults": [{**fault.to_json(), "left": left} for fault, left in self._simulation.faults.active()]}

    def inject(self, request: Request, body: Any) -> Any:
        # All are read before the first is put in force.
        self._simulation.inject(*[Fault.parse(item) for item in (body if isinstance(body, list) else [body])])
        return self.faults(request, body)

    def clear_faults(self, request: Request, body: Any) -> Any:
        self._simulation.clear_faults()
        return self.faults(request, body)

    def advance(self, _request: Request, body: Any) -> Any:
        seconds = _field(body, "seconds", (int, float))
        return {"now": self._simulation.advance(seconds)}

    def set_status(self, request: Request, body: Any) -> Any:
        self._simulation.set_status(request.path_params["cluster_id"], _field(body, "status", (str,)))
        return self.clusters(request, body)

    def fail(self, request: Request, body: Any) -> Any:
        is_nccl = isinstance(body, dict) and body.get("nccl") is True
        self._simulation.fail(request.path_params["cluster_id"], nccl=is_nccl)
        return self.clusters(request, body)

    def reset(self, request: Request, body: Any) -> Any:
        self._simulation.reset()
        return self.health(request, body)

    def nothing(self, request: Request, _body: Any) -> Any:
        message = f"{request.method} {request.url.path}: no such endpoint of the emulator"
        raise UnknownResourceError(message)


def _endpoint(run: Callable[[Request, Any], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        try:
            return JSONResponse(run(request, json.loads(raw) if raw else None))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=_WRONG)
        except UnknownResourceError as error:
            return JSONResponse({"error": error.message}, status_code=_MISSING)

    return endpoint


def _field(body: Any, name: str, kinds: tuple[type, ...]) -> Any:
    value = body.get(name) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        message = f"{name}={value!r} is wrong: send a JSON object with {name!r} as {wanted}"
        raise ValueError(message)  # noqa: TRY004 - a wrong request, not a wrong program
    return value
