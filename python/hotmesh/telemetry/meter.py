"""The meter of ``activity.metric_meter`` and ``workflow.metric_meter``.

Its metrics go to the OpenTelemetry meter provider that the program has set.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, Self

from hotmesh.common import (
    MetricAttributes,
    MetricCommon,
    MetricCounter,
    MetricGauge,
    MetricGaugeFloat,
    MetricHistogram,
    MetricHistogramFloat,
    MetricHistogramTimedelta,
    MetricMeter,
)

_METER = "hotmesh"

INSTRUMENTS_MAX = 10_000
"""Instruments that are remembered: making one again may warn, and costs a lock."""

Gate = Callable[[], bool]
"""Whether a measurement counts now; workflow code that is replayed measures nothing."""


def program_meter(attributes: MetricAttributes, gate: Gate | None = None) -> MetricMeter:
    """A meter whose measurements go to the program's meter provider.

    Args:
        attributes: Put on every measurement.
        gate: Asked at each measurement whether it counts; all do by default.

    Returns:
        A meter that drops everything if the program has not imported ``opentelemetry.metrics``.
    """
    api: Any = sys.modules.get("opentelemetry.metrics")
    if api is None:
        return MetricMeter.noop
    return _ProgramMeter(api.get_meter(_METER), attributes, gate)


@lru_cache(maxsize=INSTRUMENTS_MAX)
def _instrument(meter: Any, kind: str, name: str, unit: str, description: str) -> Any:
    return getattr(meter, f"create_{kind}")(name, unit=unit, description=description)


def _joined(attributes: MetricAttributes, more: MetricAttributes | None) -> MetricAttributes:
    """Both, checked.

    Raises:
        TypeError: An attribute value is not a str, int, float or bool.
    """
    if not more:
        return attributes
    for name, value in more.items():
        if not isinstance(value, str | int | float | bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"Metric attribute {name!r} must be a str, int, float or bool, "
                f"not {type(value).__name__}"
            )
    return {**attributes, **more}


class _Metric(MetricCommon):
    """What all metrics share: an instrument, what is said of it, and its attributes."""

    def __init__(
        self,
        instrument: Any,
        about: tuple[str, str | None, str | None],
        attributes: MetricAttributes,
        gate: Gate | None,
    ) -> None:
        self._instrument = instrument
        self._about = about
        self._attributes = attributes
        self._gate = gate

    @property
    def name(self) -> str:
        return self._about[0]

    @property
    def description(self) -> str | None:
        return self._about[1]

    @property
    def unit(self) -> str | None:
        return self._about[2]

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        joined = _joined(self._attributes, additional_attributes)
        return type(self)(self._instrument, self._about, joined, self._gate)

    def measure(
        self,
        take: Callable[[Any, Mapping[str, Any]], None],
        value: float,
        more: MetricAttributes | None,
    ) -> None:
        """Check a measurement, and hand it over if it counts now."""
        if value < 0:
            raise ValueError(f"Metric {self.name!r} takes no negative values, but got {value!r}")
        attributes = _joined(self._attributes, more)
        if self._gate is None or self._gate():
            take(value, attributes)


class _Counter(_Metric, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self.measure(self._instrument.add, value, additional_attributes)


class _Histogram(_Metric, MetricHistogram):
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self.measure(self._instrument.record, value, additional_attributes)


class _HistogramFloat(_Metric, MetricHistogramFloat):
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        self.measure(self._instrument.record, value, additional_attributes)


class _HistogramTimedelta(_Metric, MetricHistogramTimedelta):
    def record(
        self, value: timedelta, additional_attributes: MetricAttributes | None = None
    ) -> None:
        whole = value // timedelta(milliseconds=1)
        self.measure(self._instrument.record, whole, additional_attributes)


class _Gauge(_Metric, MetricGauge):
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self.measure(self._instrument.set, value, additional_attributes)


class _GaugeFloat(_Metric, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        self.measure(self._instrument.set, value, additional_attributes)


class _ProgramMeter(MetricMeter):
    """Makes metrics of one OpenTelemetry meter."""

    def __init__(self, meter: Any, attributes: MetricAttributes, gate: Gate | None) -> None:
        self._meter = meter
        self._attributes = attributes
        self._gate = gate

    def _parts(
        self, kind: str, name: str, description: str | None, unit: str | None
    ) -> tuple[Any, tuple[str, str | None, str | None], MetricAttributes, Gate | None]:
        instrument = _instrument(self._meter, kind, name, unit or "", description or "")
        return instrument, (name, description, unit), self._attributes, self._gate

    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        return _Counter(*self._parts("counter", name, description, unit))

    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        return _Histogram(*self._parts("histogram", name, description, unit))

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _HistogramFloat(*self._parts("histogram", name, description, unit))

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        return _HistogramTimedelta(*self._parts("histogram", name, description, unit or "ms"))

    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        return _Gauge(*self._parts("gauge", name, description, unit))

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _GaugeFloat(*self._parts("gauge", name, description, unit))

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        joined = _joined(self._attributes, additional_attributes)
        return _ProgramMeter(self._meter, joined, self._gate)
