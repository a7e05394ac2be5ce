"""Payloads by pydantic: what it validates is read back as it was written."""

import dataclasses
import enum
import warnings
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import pytest

from hotmesh import workflow
from hotmesh.client import Client
from hotmesh.contrib.pydantic import (
    PydanticPayloadConverter,
    ToJsonOptions,
    pydantic_data_converter,
)
from hotmesh.converter import DataConverter
from hotmesh.worker import Worker


class Colour(enum.Enum):
    RED = "r"


class Part(pydantic.BaseModel):
    name: str
    price: Decimal = Decimal(0)


class Order(pydantic.BaseModel):
    due: date
    parts: list[Part]
    at: datetime | None = None


class Names(pydantic.RootModel[list[str]]):
    pass


@dataclasses.dataclass
class Trip:
    start: date
    length: timedelta


ORDER = Order(due=date(2030, 1, 2), parts=[Part(name="a", price=Decimal("1.10"))])

VALUES: list[tuple[Any, Any]] = [
    (date(2030, 1, 2), date),
    (time(1, 2, 3), time),
    (timedelta(seconds=1.5), timedelta),
    (datetime(2030, 1, 2, tzinfo=UTC), datetime),
    (Decimal("1.10"), Decimal),
    (Path("/a/b"), Path),
    (Colour.RED, Colour),
    (UUID(int=7), UUID),
    ({1, 2}, set[int]),
    (Trip(date(2030, 1, 2), timedelta(days=3)), Trip),
    (ORDER, Order),
    ([ORDER], list[Order]),
    (Names(["a"]), Names),
    (None, type(None)),
    (b"bytes", bytes),
]


@pytest.mark.parametrize(("value", "hint"), VALUES, ids=lambda each: type(each).__name__)
def test_values_are_read_back_as_they_were(value: Any, hint: Any) -> None:
    converter = PydanticPayloadConverter()
    payload = converter.to_payload(value)
    assert payload.metadata["encoding"] in (b"json/plain", b"binary/null", b"binary/plain")
    assert converter.from_payload(payload, hint) == value


def test_unset_fields_may_be_left_out() -> None:
    converter = PydanticPayloadConverter(ToJsonOptions(exclude_unset=True))
    assert converter.to_payload(Part(name="a")).data == b'{"name":"a"}'
    assert PydanticPayloadConverter().to_payload(Part(name="a")).data != b'{"name":"a"}'


@workflow.defn
class Ships:
    @workflow.run
    async def run(self, order: Order, after: timedelta) -> Order:
        return order.model_copy(update={"due": order.due + after})


async def test_workflows_take_and_return_models(sqlite_url: str) -> None:
    async with (
        await Client.connect(sqlite_url, data_converter=pydantic_data_converter) as client,
        Worker(client, task_queue="q", workflows=[Ships], max_cached_workflows=0),
    ):
        done = await client.execute_workflow(
            Ships.run, args=[ORDER, timedelta(days=1)], id="w", task_queue="q"
        )
    assert done == ORDER.model_copy(update={"due": date(2030, 1, 3)})


# -- The default converter --


@pytest.mark.parametrize("value", [ORDER, Names(["a"]), [ORDER]])
def test_the_default_converter_writes_models_without_deprecated_calls(value: Any) -> None:
    converter = DataConverter.default.payload_converter
    hint = list[Order] if isinstance(value, list) else type(value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert converter.from_payload(converter.to_payload(value), hint) == value


@pytest.mark.parametrize(
    "value", [date(2030, 1, 2), time(1), timedelta(1), Decimal(1), Path("a"), 1j, object()]
)
def test_what_the_default_converter_can_not_write_names_one_that_can(value: Any) -> None:
    for each in (value, [value], {"a": value}, Trip(value, value)):
        with pytest.raises(TypeError, match="pydantic_data_converter"):
            DataConverter.default.payload_converter.to_payload(each)


@pytest.mark.parametrize("hint", [date, time, timedelta, Decimal, Path])
def test_what_it_can_not_read_likewise(hint: Any) -> None:
    payload = DataConverter.default.payload_converter.to_payload("text")
    with pytest.raises(TypeError, match="pydantic_data_converter"):
        DataConverter.default.payload_converter.from_payload(payload, hint)
