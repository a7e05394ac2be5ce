"""Metrics that workflow and activity code records, and a meter that drops them.

The telemetry module supplies meters that keep them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Self, TypeAlias

MetricAttributes: TypeAlias = Mapping[str, str | int | float | bool]
"""Names and values a measurement is told apart by."""


class MetricCommon(ABC):
    """Base of all metrics."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the metric."""

    @property
    @abstractmethod
    def description(self) -> str | None:
        """What it measures, if said."""

    @property
    @abstractmethod
    def unit(self) -> str | None:
        """Unit of its values, if said."""

    @abstractmethod
    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        """Make the same metric with more attributes.

        Raises:
            TypeError: An attribute value is not a str, int, float or bool.
        """


class MetricCounter(MetricCommon):
    """A count that only grows."""

    @abstractmethod
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Add to the count.

        Args:
            value: Not negative.
            additional_attributes: Attributes of this measurement only.

        Raises:
            ValueError: The value is negative.
            TypeError: An attribute value is not a str, int, float or bool.
        """


class MetricHistogram(MetricCommon):
    """A distribution of integers."""

    @abstractmethod
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Record a value.

        Args:
            value: Not negative.
            additional_attributes: Attributes of this measurement only.

        Raises:
            ValueError: The value is negative.
            TypeError: An attribute value is not a str, int, float or bool.
        """


class MetricHistogramFloat(MetricCommon):
    """A distribution of numbers."""

    @abstractmethod
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Record a value.

        Args:
            value: Not negative.
            additional_attributes: Attributes of this measurement only.

        Raises:
            ValueError: The value is negative.
            TypeError: An attribute value is not a str, int, float or bool.
        """


class MetricHistogramTimedelta(MetricCommon):
    """A distribution of durations, kept in milliseconds."""

    @abstractmethod
    def record(
        self, value: timedelta, additional_attributes: MetricAttributes | None = None
    ) -> None:
        """Record a duration.

        Args:
            value: Not negative.
            additional_attributes: Attributes of this measurement only.

        Raises:
            ValueError: The value is negative.
            TypeError: An attribute value is not a str, int, float or bool.
        """


class MetricGauge(MetricCommon):
    """An integer that goes up and down."""

    @abstractmethod
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Set the value.

        Args:
            value: Not negative.
            additional_attributes: Attributes of this measurement only.

        Raises:
            ValueError: The value is negative.
            TypeError: An attribute value is not a str, int, float or bool.
        """


class MetricGaugeFloat(MetricCommon):
    """A number that goes up and down."""

    @abstractmethod
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Set the value.

        Args:
            value: Not negative.
            additional_attributes: Attributes of this measurement only.

        Raises:
            ValueError: The value is negative.
            TypeError: An attribute value is not a str, int, float or bool.
        """


class MetricMeter(ABC):
    """Makes metrics. Each ``create_`` method takes a name, a description and a unit."""

    noop: ClassVar[MetricMeter]
    """A meter whose metrics drop every measurement."""

    @abstractmethod
    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        """Create a counter."""

    @abstractmethod
    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        """Create a histogram of integers."""

    @abstractmethod
    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        """Create a histogram of floats."""

    @abstractmethod
    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        """Create a histogram of durations."""

    @abstractmethod
    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        """Create a gauge of integers."""

    @abstractmethod
    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        """Create a gauge of floats."""

    @abstractmethod
    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        """Make a meter whose metrics all have more attributes.

        Raises:
            TypeError: An attribute value is not a str, int, float or bool.
        """


class _NoopMetric(MetricCommon):
    def __init__(self, name: str, description: str | None, unit: str | None) -> None:
        self._name = name
        self._description = description
        self._unit = unit

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str | None:
        return self._description

    @property
    def unit(self) -> str | None:
        return self._unit

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        return self


class _NoopCounter(_NoopMetric, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        pass


class _NoopHistogram(_NoopMetric, MetricHistogram):
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        pass


class _NoopHistogramFloat(_NoopMetric, MetricHistogramFloat):
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        pass


class _NoopHistogramTimedelta(_NoopMetric, MetricHistogramTimedelta):
    def record(
        self, value: timedelta, additional_attributes: MetricAttributes | None = None
    ) -> None:
        pass


class _NoopGauge(_NoopMetric, MetricGauge):
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        pass


class _NoopGaugeFloat(_NoopMetric, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        pass


class _NoopMeter(MetricMeter):
    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        return _NoopCounter(name, description, unit)

    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        return _NoopHistogram(name, description, unit)

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _NoopHistogramFloat(name, description, unit)

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        return _NoopHistogramTimedelta(name, description, unit)

    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        return _NoopGauge(name, description, unit)

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _NoopGaugeFloat(name, description, unit)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        return self


MetricMeter.noop = _NoopMeter()
