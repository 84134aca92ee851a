"""Writes JSON values and requests that fit a contract, or that go beyond it on purpose.

Owns the choice of example values. It is separate from ``server.py`` because request bodies are written by
the same rules. Deterministic: the same schema and richness give the same value. It must not import
``airflow_provider_together``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import httpx

from tests.contract.schema import Contract, Operation, Schema

Richness = Literal["minimal", "full", "hostile"]
UNKNOWN_FIELD = "field_of_tomorrow"
UNKNOWN_WORD = "WORD_OF_TOMORROW"


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Writes example values for the schemas of one contract.

    :param richness: ``minimal`` has only required fields, empty lists and the first word of an enum; ``full``
        has every field, one item a list and the last word; ``hostile`` is ``full`` with an unknown field in
        every open object and an unknown word in place of every known one.
    """

    contract: Contract
    richness: Richness

    def write(self, schema: Schema, *, name: str = "value") -> Any:
        """Write one value.

        :param name: the field that the value is for; strings are made of it.
        """
        schema = self.contract.resolve(schema)
        if "type" not in schema:
            return self.write(schema["anyOf"][0], name=name)
        if "enum" in schema:
            return self._choose_word(schema["enum"])
        kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
        match kind:
            case "object":
                return self._write_object(schema)
            case "array":
                return [] if self.richness == "minimal" else [self.write(schema["items"], name=name)]
            case "string":
                return "2030-01-02T03:04:05Z" if schema.get("format") == "date-time" else f"{name}-1"
        # Eight suits every number: GPUs come in eights, all else is a count or a size.
        return {"boolean": True, "integer": 8, "number": 8.5}[kind]

    def _choose_word(self, words: list[str]) -> str:
        return {"minimal": words[0], "full": words[-1], "hostile": UNKNOWN_WORD}[self.richness]

    def _write_object(self, schema: Schema) -> dict[str, Any]:
        fields = schema.get("properties", {})
        # An "anyOf" beside the fields only adds required ones; its first branch is as good as any.
        required = {*schema.get("required", ()), *schema.get("anyOf", [{}])[0].get("required", ())}
        chosen = [name for name in fields if name in required or self.richness != "minimal"]
        value = {name: self.write(fields[name], name=name) for name in chosen}
        others = schema.get("additionalProperties", True)
        if self.richness == "hostile" and others is True:
            value[UNKNOWN_FIELD] = {"items": [1, None, "x"]}
        elif self.richness != "minimal" and isinstance(others, dict):
            value["key-1"] = self.write(others)
        return value


def build_request(contract: Contract, operation: Operation, *, richness: Richness) -> httpx.Request:
    """Build a request for an operation, with every declared parameter if it is rich.

    :param richness: see :class:`Writer`.
    """
    writer = Writer(contract=contract, richness=richness)
    path, query = operation.path, {}
    for parameter in operation.parameters:
        name = parameter["name"]
        value = writer.write(parameter["schema"], name=name)
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", value)
        elif parameter.get("required") or richness != "minimal":
            query[name] = value
    return httpx.Request(
        operation.method,
        httpx.URL(f"http://127.0.0.1{path}", params=query or None),
        headers={"Authorization": "Bearer contract-key"},
        json=None if operation.body is None else writer.write(operation.body),
    )
