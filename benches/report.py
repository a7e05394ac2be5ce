"""Writes results into documents: the README's performance block, tables and plots.

Everything comes from the JSON files in `docs/benchmarks/`; no figure is written by hand.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import RESULTS, ROOT, UNITS, machine
from results import judged

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def main() -> None:
    """Rewrite what is generated."""
    kind = machine()["kind"]
    documents = [
        json.loads(file.read_text())
        for file in (RESULTS / f"{kind}.json", RESULTS / f"{kind}-lines.json")
        if file.exists()
    ]
    if documents:
        replace_block(ROOT / "README.md", readme_block(documents))
        (RESULTS / f"{kind}.md").write_text(engine_page(documents))
    versus = RESULTS / f"versus-{kind}.json"
    if versus.exists():
        document = json.loads(versus.read_text())
        (RESULTS / f"versus-{kind}.md").write_text(versus_page(document))
        plot(document, RESULTS / f"versus-{kind}")


def replace_block(file: Path, text: str) -> None:
    """Put text between the markers of a file; a file without markers is left alone."""
    content = file.read_text()
    if BEGIN not in content or END not in content:
        print(f"{file.name} has no {BEGIN} … {END}; nothing written there")
        return
    before, rest = content.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    file.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def readme_block(documents: Sequence[Mapping[str, Any]]) -> str:
    """The table for the README: every figure with its goal and the command that measures it."""
    what = documents[0]["machine"]
    lines = [
        (
            f"Measured on {what['kind']}, Python {what['python']}, everything on one machine: "
            "client, one worker process, and the database with its default durability. The floor "
            "is the same work on the bare database with nothing in between; medians of "
            f"{documents[0]['rounds']} rounds, in turns. A goal is about the ratio where there is "
            "one, else about the figure."
        ),
        "",
        "| | HotMesh | floor | ratio | goal | command |",
        "|---|---|---|---|---|---|",
    ]
    for document in documents:
        for name, result in document["cases"].items():
            floor, ratio = _floor(result)
            cells = (name, _figure(result), floor, ratio, judged(result), f"`{result['command']}`")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def engine_page(documents: Sequence[Mapping[str, Any]]) -> str:
    """The page with everything measured."""
    first = documents[0]
    kind = first["machine"]["kind"]
    lines = [
        f"# HotMesh on {kind}, {first['date']}",
        "",
        (
            f"Written by `benches/report.py` from {kind}.json, measured by "
            f"`python benches/throughput.py --write`, and {kind}-lines.json, measured by "
            "`python benches/lines.py --write`."
        ),
        "",
        readme_block(documents),
        "What the same runs used:",
        "",
        (
            "| | latency ms p50 / p99 | CPU s client / worker / database | worker memory MiB "
            "| log bytes / workflow | row writes / workflow | round trips / workflow |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    results = {name: r for document in documents for name, r in document["cases"].items()}
    lines += [
        f"| {name} | {' | '.join(_used(result['details']))} |"
        for name, result in results.items()
        if "details" in result and " " not in name  # further figures of a run have its name first
    ]
    lines += ["", "Commands of the floors:", ""]
    commands = {r["floor_command"] for r in results.values() if "floor_command" in r}
    lines += [f"- `{command}`" for command in sorted(commands)]
    return "\n".join([*lines, ""])


def versus_page(document: Mapping[str, Any]) -> str:
    """The page that compares engines."""
    lines = [
        f"# Engines beside each other on {document['machine']['kind']}, {document['date']}",
        "",
        (
            f"Written by `benches/report.py`; measured by `{document['command']}`: a client "
            "process and a worker process each, in turns, medians of "
            f"{document['rounds']} rounds."
        ),
        "",
        "| engine | version | one: workflows/s | ten: steps/s | one: ms p50 / p99 under load |",
        "|---|---|---|---|---|",
    ]
    for name, found in document["engines"].items():
        one, ten = found["one"], found["ten"]
        latency = one["latency_ms"]
        lines.append(
            f"| {name} | {found['version']} | {one['workflows_per_s']:,.0f} "
            f"| {ten['steps_per_s']:,.0f} | {latency['p50']:,.1f} / {latency['p99']:,.1f} |"
        )
    kind = document["machine"]["kind"]
    return "\n".join([*lines, "", f"![workflows and steps per second](versus-{kind}.svg)", ""])


def plot(document: Mapping[str, Any], stem: Path) -> None:
    """Bars of both workloads, on a logarithmic axis, as SVG and PNG."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "hotmesh"
    from matplotlib import pyplot

    names = list(document["engines"])
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 0.6 + 0.45 * len(names)), sharey=True)
    for axis, (workload, metric) in zip(
        axes, (("one", "workflows_per_s"), ("ten", "steps_per_s")), strict=True
    ):
        values = [document["engines"][name][workload][metric] for name in names]
        colours = ["#c0392b" if name.startswith("HotMesh") else "#7f8c8d" for name in names]
        bars = axis.barh(names, values, color=colours)
        axis.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
        axis.set_xscale("log")
        axis.set_xlim(right=max(values) * 4)
        axis.set_title(f"{workload}: {UNITS[metric]}")
        axis.invert_yaxis()
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(stem.with_suffix(".png"), dpi=120)


def _figure(result: Mapping[str, Any]) -> str:
    return f"{_shown(result['engine'])} {result['unit']}"


def _floor(result: Mapping[str, Any]) -> tuple[str, str]:
    if "floor" not in result:
        return "", ""
    return _shown(result["floor"]), f"{result['ratio']:.2f}"


def _shown(value: float) -> str:
    """With three significant digits at least."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _used(details: Mapping[str, Any]) -> Iterable[str]:
    latency, database = details["latency_ms"], details["database"]
    worker = sum(each["cpu_s"] for each in details["workers"])
    memory = max(each["memory_bytes"] or 0 for each in details["workers"]) / 2**20
    yield f"{latency['p50']:,.1f} / {latency['p99']:,.1f}"
    counted = "-" if database["cpu_s"] is None else f"{database['cpu_s']:.2f}"
    yield f"{details['client']['cpu_s']:.2f} / {worker:.2f} / {counted}"
    yield f"{memory:.0f}"
    for key in ("log_bytes_per_workflow", "rows_per_workflow", "round_trips_per_workflow"):
        yield "-" if database[key] is None else f"{database[key]:,.2f}"


if __name__ == "__main__":
    main()
