"""Where numbers go when a line only rearranges them: from which cells of which panel to which."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attention_variants.lab.code.trace import Assignment

from .captions import Event, Kind
from .contents import Contents
from .frames import Panel, Spot
from .panels import Place, all_cells
from .source_lines import Link, RunningCode, cells_of


@dataclass(frozen=True)
class Movement:
    """The spots that the numbers of a tensor pass, and what happens on each leg of the way."""

    name: str
    spots: list[Spot]
    events: list[Event]
    value: np.ndarray
    origin: np.ndarray


def find_movement(step: Assignment, place: Place, contents: Contents, code: RunningCode) -> Movement | None:
    """Find the way of the numbers, if a tensor is an older one in another order.

    Parameters
    ----------
    step : Assignment
        What the line did.
    place : Place
        Where its numbers go.
    contents : Contents
        What the panels hold before.
    code : RunningCode
        The source, whose views are followed link by link.

    Returns
    -------
    movement : Movement or None
        None if the tensor is a new one, or stays where it is.
    """
    if step.value.dtype == torch.bool:  # of what is only True or False, nobody can say which went where
        return None
    chain = code.chain(step, contents.values)
    if chain is None:
        return _by_numbers(step, place, contents, code)
    root, links = chain
    source = contents.current[root]
    if source.key == place.key:
        return None
    order = links[-1].indices.flatten().numpy()
    spots = [Spot(source.key, all_cells(contents.panels[source.key], source)[order])]
    events, leg = [], list[Link]()
    for link in links[:-1]:
        leg.append(link)
        spot = _between(link.indices, order, (source, place), contents.panels)
        if spot is not None:
            spots.append(spot)
            events.append(_of_leg(leg))
            leg = []
    spots.append(Spot(place.key, all_cells(contents.panels[place.key], place)))
    return _set_out(step.name, spots, [*events, _of_leg([*leg, links[-1]])], contents)


def _of_leg(links: list[Link]) -> Event:
    """What happens from one spot to the next: a link, or several of which those between cannot be drawn."""
    codes = [link.code for link in links]
    if len(codes) > 1:  # the names alone: the line itself is lit
        codes = [", ".join(code.partition("(")[0].strip(".") for code in codes)]
    return Event(Kind.VIEW, code=codes[0], shapes=(links[0].before, links[-1].after))


def _by_numbers(step: Assignment, place: Place, contents: Contents, code: RunningCode) -> Movement | None:
    """Another way than by views, such as ``split`` or ``cat``: the numbers are looked for in an older panel."""
    for key, state in contents.states.items():
        panel, cells = contents.panels[key], None
        if panel.name == step.name and key != place.key:
            cells = _find(cells_of(step.value), state.value, ~state.there)
        if cells is not None:
            spots = [Spot(key, cells), Spot(place.key, all_cells(contents.panels[place.key], place))]
            event = Event(
                Kind.REARRANGED, code=code.line(step.line), shapes=(panel.shape, tuple(step.shape)), turns=panel.turns
            )
            return _set_out(step.name, spots, [event], contents)
    return None


def _between(indices: Tensor, order: np.ndarray, ends: tuple[Place, Place], panels: Mapping[str, Panel]) -> Spot | None:
    """Where a view in the middle of a chain is drawn: in rows of one of its ends, the columns in groups."""
    shape = tuple(indices.shape)
    if len(shape) < 3:
        return None
    position = np.empty(indices.numel(), dtype=int)
    position[indices.flatten().numpy()] = np.arange(indices.numel())
    for end in ends:
        panel = panels[end.key]
        same_rows = shape[-3] == panel.rows and math.prod(shape[:-2]) == panel.sheets * panel.rows
        if same_rows and shape[-2] * shape[-1] == panel.columns:
            return Spot(end.key, all_cells(panel, end)[position[order]], group=shape[-1])
    return None


def _set_out(name: str, spots: list[Spot], events: list[Event], contents: Contents) -> Movement:
    state, cells = contents.states[spots[0].key], tuple(spots[0].cells.T)
    return Movement(name, spots, events, state.value[cells], state.origin[cells])


def _find(wanted: np.ndarray, there: np.ndarray, taken: np.ndarray) -> np.ndarray | None:
    """Where the numbers of one panel stand among those of another, as (n, 3) cells; None if one of them does not.

    ``split`` and ``cat`` move columns together, so those are looked for first, and then number by number, equal ones
    in turn. What is ``taken`` has gone elsewhere.
    """
    width = min(wanted.shape[2], there.shape[2])
    places = [(sheet, column) for sheet in range(there.shape[0]) for column in range(0, there.shape[2], width)]
    found = np.empty((*wanted.shape, 3), dtype=int)
    rows = np.arange(wanted.shape[1])[:, None]
    for sheet, column in itertools.product(range(wanted.shape[0]), range(0, wanted.shape[2], width)):
        columns = wanted[sheet, :, column : column + width]
        for other, start in places:
            part = (other, slice(None), slice(start, start + width))
            if np.array_equal(there[part], columns, equal_nan=True) and not taken[part].any():
                found[sheet, :, column : column + width] = np.stack(
                    np.broadcast_arrays(other, rows, start + np.arange(width)), axis=-1
                )
                places.remove((other, start))
                break
        else:
            return _find_numbers(wanted, there)
    return found.reshape(-1, 3)


def _find_numbers(wanted: np.ndarray, there: np.ndarray) -> np.ndarray | None:
    where: dict[float, list[int]] = {}
    for position, number in enumerate(there.ravel().tolist()):
        where.setdefault(number, []).append(position)
    turn: Counter[float] = Counter()
    found = []
    for number in wanted.ravel().tolist():
        if number not in where:
            return None
        positions = where[number]
        found.append(positions[turn[number] % len(positions)])
        turn[number] += 1
    return np.stack(np.unravel_index(found, there.shape), axis=1)
