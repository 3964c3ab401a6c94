"""Where on the table undirected play has been, and where something moved lately."""

import math

import numpy as np

from vla_ros.core.play_parameters import ExplorationParameters

# What has faded to this is forgotten.
_LEAST_INTEREST = 1e-3


class InterestMap:
    """Two numbers for each cell of the table: time spent over it, and movement seen in it.

    Both fade with time, so that old news is worth less. The map reads no clock: `advance` tells
    it how much time has passed.

    Args:
        parameters: the region, the cells' size, how fast things fade, and the weights.
    """

    def __init__(self, parameters: ExplorationParameters):
        p = self.parameters = parameters
        self._low_m = np.array([p.x_low_m, -p.y_limit_m])
        self._corner_m = tuple(self._low_m.tolist())
        extent_m = np.array([p.x_high_m, p.y_limit_m]) - self._low_m
        num_rows, num_columns = np.maximum(np.ceil(extent_m / p.cell_m - 1e-9), 1).astype(int)
        self._shape = (int(num_rows), int(num_columns))
        self._visits_s = np.zeros(self._shape)
        self._moved = np.zeros(self._shape)
        self._any_moved = False
        rows, columns = np.indices(self._shape)
        self._centres_m = np.stack([rows, columns], axis=-1).reshape(-1, 2) + 0.5
        self._centres_m = self._low_m + p.cell_m * self._centres_m

    def advance(self, dt_s: float) -> None:
        """Let `dt_s` [s] pass: visits and movements fade."""
        self._visits_s *= np.exp(-dt_s / self.parameters.coverage_memory_s)
        self._moved *= np.exp(-dt_s / self.parameters.interest_memory_s)

    def visited(self, tool_m: np.ndarray, dt_s: float, can_touch: bool = False) -> None:
        """Note that the tool was at a position (3,) or (2,) [m] for `dt_s` [s].

        Outside the region nothing is noted. Where the tool is low enough to touch things, interest
        wanes as it stays: after `visit_s` 37 % is left, unless something is seen to move again.
        """
        p = self.parameters
        x_m, y_m = (float(one) for one in tool_m[:2])
        cell = self._cell(x_m, y_m)
        if cell is None:
            return
        self._visits_s[cell] += dt_s
        if can_touch and self._any_moved:
            near = np.linalg.norm(self._centres_m - (x_m, y_m), axis=1) <= p.interest_radius_m
            self._moved.reshape(-1)[near] *= np.exp(-dt_s / p.visit_s)

    def moved(self, points_xy_m: np.ndarray, strength: float = 1.0) -> None:
        """Note that something moved at points (N, 2) [m] in base_link, on the table.

        Points outside the region, or not finite, are passed over.

        Args:
            points_xy_m: (N, 2), N may be 0.
            strength: 0 to 1, clipped; a cell keeps the strongest that it has.
        """
        points = np.asarray(points_xy_m, dtype=np.float64).reshape(-1, 2)
        cells, inside = self._cells(points)
        strength = float(np.clip(strength, 0.0, 1.0)) if np.isfinite(strength) else 0.0
        for row, column in cells[inside]:
            self._moved[row, column] = max(self._moved[row, column], strength)
            self._any_moved = True

    def rarity(self, xy_m: np.ndarray) -> np.ndarray:
        """Return how rarely the cells of points (N, 2) [m] were visited (N,): 1 never, to 0.

        `visit_s` seconds in a cell make it a half. Outside the region it is 0.
        """
        cells, inside = self._cells(np.asarray(xy_m, dtype=np.float64))
        visits_s = self._visits_s[cells[:, 0], cells[:, 1]]
        return np.where(inside, 1.0 / (1.0 + visits_s / self.parameters.visit_s), 0.0)

    def interest(self, xy_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how much moved lately near points (N, 2) [m], and where.

        Returns:
            (N,) 0 nothing, to 1: the strongest cell counts, less with distance, none beyond
            `interest_radius_m`; and that cell's centre (N, 2) [m], the point itself where
            nothing moved.
        """
        xy_m = np.asarray(xy_m, dtype=np.float64)
        places = np.flatnonzero(self._moved.reshape(-1) > _LEAST_INTEREST)
        if not len(places):
            return np.zeros(len(xy_m)), xy_m.copy()
        apart = xy_m[:, None] - self._centres_m[places]
        # A cell's centre may be half a cell from what moved in it.
        radius_m = self.parameters.interest_radius_m + self.parameters.cell_m / 2
        near = np.maximum(1.0 - np.linalg.norm(apart, axis=2) / radius_m, 0.0)
        strength = near * self._moved.reshape(-1)[places]
        best = strength.argmax(axis=1)
        value = strength[np.arange(len(xy_m)), best]
        where = np.where(value[:, None] > 0.0, self._centres_m[places[best]], xy_m)
        return value, where

    def _cell(self, x_m: float, y_m: float) -> tuple[int, int] | None:
        """Return the cell of a point, None outside the region: `_cells` for a single point."""
        if not (math.isfinite(x_m) and math.isfinite(y_m)):
            return None
        cell_m, (rows, columns) = self.parameters.cell_m, self._shape
        low_x_m, low_y_m = self._corner_m
        row, column = math.floor((x_m - low_x_m) / cell_m), math.floor((y_m - low_y_m) / cell_m)
        # The region's far edges belong to the last cells.
        is_in = x_m <= low_x_m + rows * cell_m + 1e-9 and y_m <= low_y_m + columns * cell_m + 1e-9
        if row < 0 or column < 0 or not is_in:
            return None
        return min(row, rows - 1), min(column, columns - 1)

    def _cells(self, xy_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each point's cell (N, 2), clipped, and whether it is inside the region (N,)."""
        finite = np.all(np.isfinite(xy_m), axis=1)
        cells = np.where(finite[:, None], xy_m, 0.0) - self._low_m
        cells = np.floor(cells / self.parameters.cell_m)
        # The region's far edges belong to the last cells.
        high = self._low_m + np.array(self._shape) * self.parameters.cell_m + 1e-9
        inside = finite & np.all(cells >= 0, axis=1) & np.all(xy_m <= high, axis=1)
        return np.clip(cells, 0, np.array(self._shape) - 1).astype(int), inside
