"""Spans and metrics: the only package that knows OpenTelemetry.

Only its API is used, and only when the program has imported it already: a program without it has
no provider that could take a span or a measurement. So importing HotMesh never imports
OpenTelemetry, and whatever provider the program has set is respected.
"""

from hotmesh.telemetry.meter import program_meter
from hotmesh.telemetry.spans import PREFIX, SPAN_NAME, record_span

__all__ = ["PREFIX", "SPAN_NAME", "program_meter", "record_span"]
