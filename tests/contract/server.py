"""A server that knows the contract and nothing else.

Owns the handler that a client's tests plug into httpx in place of the network. It is separate from the
emulator, which has state and was written from other notes: what both let pass is probably right. It must not
import ``airflow_provider_together``.
"""

from __future__ import annotations

import httpx

from tests.contract.example import Richness, Writer
from tests.contract.schema import Contract


class ContractServer:
    """Check each request and answer 200 with a body made from the schema.

    It is stateless: an answer depends on the operation alone. One server serves ``httpx.Client`` and
    ``httpx.AsyncClient``, through :meth:`transport`.

    :param richness: how much an answer holds; see :class:`~tests.contract.example.Writer`. Answers that are
        ``hostile`` break the contract on purpose, as a later version of the service may.
    """

    def __init__(self, contract: Contract, *, richness: Richness = "minimal") -> None:
        self.contract = contract
        self.requests: list[httpx.Request] = []
        self._writer = Writer(contract=contract, richness=richness)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request.

        :raises ContractViolation: instead of an answer, so that the test fails where the client went wrong.
        """
        self.requests.append(request)
        operation = self.contract.check_request(request)
        return httpx.Response(200, json=self._writer.write(operation.answers["200"]))

    def transport(self) -> httpx.MockTransport:
        """Give a transport for a sync or an async client."""
        return httpx.MockTransport(self)
