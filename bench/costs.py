"""What a process cost, contestants beside each other: the table of the two plainest measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.measure import Cost
from bench.report import Reach, Section, as_ratio, in_mb, in_ms, middle, ratio

OURS = "ours"


def cost_section(
    title: str, prose: str, costs: Mapping[str, Sequence[Cost]], runs: int, reaches: Sequence[Reach] = ()
) -> Section:
    """Wall time, CPU and memory of each, and ours divided by them."""
    rows = [
        [
            name,
            in_ms(middle(_all(costs, name, _wall))),
            in_ms(middle(_all(costs, name, _cpu))),
            in_mb(middle([cost.peak_bytes for cost in costs[name]])),
            "" if name == OURS else as_ratio(_ratio(costs, name, _wall)),
            "" if name == OURS else as_ratio(_ratio(costs, name, _cpu)),
        ]
        for name in costs
    ]
    header = ["", "wall", "CPU", "largest process", "wall: ours ÷ it", "CPU: ours ÷ it"]
    return Section(title, prose, header, rows, reaches=reaches, runs=runs)


def reaches_of(costs: Mapping[str, Sequence[Cost]], name: str, at_most: float) -> list[Reach]:
    """Our wall time and CPU as a part of another's."""
    return [
        Reach(f"wall time ÷ {name}", _ratio(costs, name, _wall), at_most),
        Reach(f"CPU ÷ {name}", _ratio(costs, name, _cpu), at_most),
    ]


def _wall(cost: Cost) -> float:
    return cost.wall_s


def _cpu(cost: Cost) -> float:
    return cost.cpu_s


def _all(costs: Mapping[str, Sequence[Cost]], name: str, part: Callable[[Cost], float]) -> list[float]:
    return [part(cost) for cost in costs.get(name, ())]


def _ratio(costs: Mapping[str, Sequence[Cost]], name: str, part: Callable[[Cost], float]) -> float | None:
    return ratio(_all(costs, OURS, part), _all(costs, name, part))
