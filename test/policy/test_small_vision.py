import numpy as np
import pytest
import torch

from vla_ros.policy.small_vision import (
    SHARPNESS,
    ConvTrunk,
    PictureEncoder,
    patch_centres,
    spatial_softmax,
)


@pytest.fixture
def encoder():
    """Return an encoder of 64 px pictures: 2 x 2 patches, 16 keypoints, width 32."""
    torch.manual_seed(0)
    return PictureEncoder(ConvTrunk((16, 16, 32)), 64, num_keypoints=16, grid=2, width=32)


def squares(corners: np.ndarray) -> torch.Tensor:
    """Return (N, 3, 64, 64) grey pictures with a bright 12 px square at corners (N, 2) x, y."""
    pictures = np.full((len(corners), 3, 64, 64), -0.5, dtype=np.float32)
    for picture, (x, y) in zip(pictures, corners, strict=True):
        picture[:, y : y + 12, x : x + 12] = 0.9
    return torch.from_numpy(pictures)


def held_out_ratio(features: np.ndarray, target: np.ndarray) -> float:
    """Return ridge regression's squared error over the constant's, on the last third."""
    split = 2 * len(features) // 3
    mean, deviation = features[:split].mean(0), features[:split].std(0) + 1e-6
    x = (features - mean) / deviation
    y = target - target[:split].mean(0)
    gram = x[:split].T @ x[:split] + 1.0 * np.eye(x.shape[1])
    error = x[split:] @ np.linalg.solve(gram, x[:split].T @ y[:split]) - y[split:]
    return (error**2).mean() / (y[split:] ** 2).mean()


def test_displacement_of_a_square_is_linear_in_points_of_random_weights(encoder):
    draw = np.random.default_rng(0)
    before = draw.integers(10, 42, (180, 2))
    shift = draw.integers(-6, 7, (180, 2))
    with torch.no_grad():
        points = [encoder(squares(corners))[0].numpy() for corners in (before, before + shift)]
    assert held_out_ratio(points[1] - points[0], shift) < 0.2
    # One picture says where the square is, not where it goes.
    assert held_out_ratio(points[0], shift) > 0.8


def test_each_picture_is_encoded_alone(encoder):
    pictures = squares(np.array([[5, 9], [40, 3], [20, 20]]))
    for together, alone in zip(encoder(pictures), encoder(pictures[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone)


def test_a_patch_knows_where_in_it_a_thing_is(encoder):
    # Both squares are inside the top left patch of 32 px; a mean over it could not tell them.
    patches = encoder(squares(np.array([[2, 10], [16, 10]])))[1]
    change = (patches[0] - patches[1]).norm(dim=1)
    assert change[0] > 3 * change[1:].max()


def test_patches_are_numbered_row_by_row(encoder):
    left, right = encoder(squares(np.array([[4, 4], [48, 4]])))[1]
    change = (left - right).norm(dim=1)
    assert change[:2].min() > 3 * change[2:].max()
    expected = [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    assert patch_centres(2).tolist() == expected


def test_points_keep_float32_under_autocast(encoder):
    with torch.autocast("cpu", torch.bfloat16):
        points, _, _ = encoder(squares(np.array([[7, 7]])))
    assert points.dtype == torch.float32
    assert points.isfinite().all()


def test_a_sharp_peak_is_found_at_its_position():
    logits = torch.zeros(1, 2, 5, 5)
    logits[0, 0, 0, 4] = 100.0  # top right: x = 1, y = -1
    logits[0, 1, 2, 1] = 100.0  # x = -0.5, y = 0
    # Deviation of 24 zeros and one 100 is 20, so the peak stands 5 * SHARPNESS above the rest.
    x1, x2, y1, y2 = spatial_softmax(logits)[0].tolist()
    tail = 24 * 2.718281828 ** (-5 * SHARPNESS)
    assert (x1, y1) == pytest.approx((1, -1), abs=2 * tail)
    assert (x2, y2) == pytest.approx((-0.5, 0), abs=2 * tail)


def test_points_follow_a_shift_of_the_map():
    logits = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    moved = torch.full((1, 3, 16, 16), -9.0)
    still = moved.clone()
    still[..., 4:8, 4:8] = logits[..., 4:8, 4:8] * 3
    moved[..., 4:8, 6:10] = logits[..., 4:8, 4:8] * 3
    difference = (spatial_softmax(moved) - spatial_softmax(still))[0]
    # Two of 15 steps across the picture's width of 2.
    assert difference[:3].tolist() == pytest.approx([2 * 2 / 15] * 3, abs=0.02)
    assert difference[3:].tolist() == pytest.approx([0] * 3, abs=0.02)


def test_points_and_their_gradient_are_those_of_the_equation():
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64).requires_grad_()

    def by_autograd(maps: torch.Tensor) -> torch.Tensor:
        x = maps.flatten(2)
        weights = (SHARPNESS / (x.detach().std(2, keepdim=True) + 1e-4) * x).softmax(2)
        weights = weights.unflatten(2, (4, 5))
        xs, ys = torch.linspace(-1, 1, 5).double(), torch.linspace(-1, 1, 4).double()
        return torch.cat([weights.sum(2) @ xs, weights.sum(3) @ ys], 1)

    weights = torch.randn(2, 6, dtype=torch.float64)
    expected = by_autograd(logits)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), logits)
    points = spatial_softmax(logits.float())
    (own,) = torch.autograd.grad((points * weights.float()).sum(), logits)
    torch.testing.assert_close(points.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own, gradient, rtol=1e-5, atol=1e-6)


def test_a_patch_reads_its_cells_in_the_order_of_pixel_unshuffle(encoder):
    coarse = torch.randn(2, 32, 8, 8)
    cells = torch.nn.functional.pixel_unshuffle(coarse, 4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder._patches(coarse), encoder.patch(cells))
