"""The connection's form and its test button, through Airflow's own REST API."""

from __future__ import annotations

import json

import pytest

from airflow_provider_together.demo.airflow_stack import AirflowStack
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.runtime.compat.versions import TRIGGERS_HAVE_ON_KILL
from airflow_provider_together.runtime.connection_form import FIELDS, UI_FIELD_BEHAVIOUR
from tests.e2e.conftest import CANARY_KEY

pytestmark = pytest.mark.e2e


def test_the_form_shows_our_fields_with_their_labels(stack: AirflowStack) -> None:
    forms = stack.api.ui("/connections/hook_meta")
    (form,) = [form for form in forms if form["connection_type"] == "together"]
    assert form["hook_name"] == "Together AI"
    assert set(form["extra_fields"]) == set(FIELDS)
    assert form["standard_fields"]["password"]["title"] == UI_FIELD_BEHAVIOUR["relabeling"]["password"]
    assert form["standard_fields"]["login"]["hidden"] is True


def test_the_button_says_what_it_reached(stack: AirflowStack, cloud: Emulator) -> None:
    is_good, message = stack.api.test_connection(
        "gpus", "together", host=cloud.url, password=CANARY_KEY, port=0, login="", schema="", extra='{"api": "tcloud"}'
    )
    assert is_good
    assert "'tcloud'" in message
    assert "us-central-8" in message


@pytest.mark.skipif(not TRIGGERS_HAVE_ON_KILL, reason="before Airflow 3.3 the button cannot use the stored key")
def test_the_button_tests_a_stored_connection_with_its_stored_key(stack: AirflowStack, cloud: Emulator) -> None:
    fields = {"host": cloud.url, "port": int(cloud.url.rpartition(":")[2]), "login": "", "schema": ""}
    extra = json.dumps(dict.fromkeys(FIELDS))
    stack.api.create_connection("stored", "together", **fields, password=CANARY_KEY, extra=extra)
    is_good, message = stack.api.test_connection("stored", "together", **fields, password="***", extra=extra)
    assert is_good, message


def test_the_button_says_that_the_key_is_wrong(stack: AirflowStack, cloud: Emulator) -> None:
    is_good, message = stack.api.test_connection("gpus", "together", host=cloud.url, password="sk-wrong", extra="{}")
    assert not is_good
    assert "password" in message
    assert "sk-wrong" not in message


def test_the_button_says_which_field_is_wrong(stack: AirflowStack, cloud: Emulator) -> None:
    extra = json.dumps({"api": "v9"})
    is_good, message = stack.api.test_connection("gpus", "together", host=cloud.url, password=CANARY_KEY, extra=extra)
    assert not is_good
    assert "api='v9'" in message
