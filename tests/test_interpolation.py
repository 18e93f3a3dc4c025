"""Laws of spherical interpolation (Eq. 67, D.5)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import ULP, normal

from ddim_edu import slerp, slerp_grid, slerp_line

WEIGHT = st.floats(0, 1)
SEED = st.integers(0, 99)


def ends(seed, *shape, dtype=torch.float64):
    shape = shape or (3, 5)
    return (
        normal(*shape, seed=2 * seed).to(dtype),
        normal(*shape, seed=2 * seed + 1).to(dtype),
    )


def norms(x):
    return x.reshape(len(x), -1).norm(dim=1)


@given(SEED, WEIGHT)
def test_eq67_as_printed(seed, w):
    a, b = ends(seed)
    theta = torch.acos((a * b).sum(1) / (norms(a) * norms(b)))[:, None]
    printed = (
        torch.sin((1 - w) * theta) / torch.sin(theta) * a
        + torch.sin(w * theta) / torch.sin(theta) * b
    )
    # five dimensions keep theta well away from 0 and pi
    assert torch.allclose(slerp(a, b, w), printed, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@given(seed=SEED)
def test_the_ends_are_exact(dtype, seed):
    a, b = ends(seed, dtype=dtype)
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.equal(slerp(a, b, 1.0), b)
    for other in (a, -a):
        assert torch.equal(slerp(a, other, 0.0), a)
        assert torch.equal(slerp(a, other, 1.0), other)


@given(SEED, WEIGHT)
def test_equal_norms_are_kept(seed, w):
    a, b = ends(seed)
    b = b * (norms(a) / norms(b))[:, None]
    # 1/sin(theta) < 100 for these draws
    assert torch.allclose(norms(slerp(a, b, w)), norms(a), rtol=1e-13)


@given(SEED, WEIGHT)
def test_the_angle_grows_evenly(seed, w):
    a, b = (x / norms(x)[:, None] for x in ends(seed))

    def angle(p, q):
        return 2 * torch.atan2(norms(p - q), norms(p + q))

    assert torch.allclose(
        angle(a, slerp(a, b, w)), w * angle(a, b), rtol=0, atol=1e-13
    )


@given(SEED, WEIGHT)
def test_from_b_to_a_is_the_same_way_back(seed, w):
    a, b = ends(seed)
    # 1 - (1 - w) loses a rounding of w
    assert torch.allclose(
        slerp(a, b, w), slerp(b, a, 1 - w), rtol=0, atol=1e-13
    )
    # antiparallel ends too, where the way is a choice
    assert torch.allclose(
        slerp(a, -2 * a, w), slerp(-2 * a, a, 1 - w), rtol=0, atol=1e-13
    )


@given(SEED, WEIGHT)
def test_each_sample_has_its_own_angle(seed, w):
    a, b = ends(seed, 4, 3, 2)
    together = slerp(a, b, w)
    for i in range(4):
        alone = slerp(a[i : i + 1], b[i : i + 1], w)
        assert torch.allclose(together[i : i + 1], alone, rtol=0, atol=4 * ULP)


@given(SEED, st.lists(WEIGHT, min_size=3, max_size=3))
def test_each_sample_may_have_its_own_weight(seed, weights):
    a, b = ends(seed)
    together = slerp(a, b, torch.tensor(weights))
    for i, w in enumerate(torch.tensor(weights).tolist()):
        alone = slerp(a, b, w)[i]
        assert torch.allclose(together[i], alone, rtol=0, atol=4 * ULP)


@given(SEED, WEIGHT, st.floats(0.1, 10))
def test_parallel_ends_are_joined_by_a_line(seed, w, scale):
    a, _ = ends(seed)
    line = (1 - w) * a + w * scale * a
    # directions that agree to rounding: theta is 1e-16 or so
    assert torch.allclose(slerp(a, scale * a, w), line, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@given(seed=SEED, w=WEIGHT)
def test_an_end_with_itself_is_itself(dtype, seed, w):
    a, _ = ends(seed, dtype=dtype)
    assert torch.equal(slerp(a, a, w), a)


@given(SEED, WEIGHT, st.floats(0.1, 10))
def test_antiparallel_ends_go_around_with_their_norm(seed, w, scale):
    a, _ = ends(seed)
    out = slerp(a, -scale * a, w)
    expected = ((1 - w) + w * scale) * norms(a)
    assert torch.allclose(norms(out), expected, rtol=1e-14)
    # half way round they are at right angles to both ends
    middle = slerp(a, -a, 0.5)
    cos = (middle * a).sum(1) / norms(a) ** 2
    assert cos.abs().max() < 1e-14
    assert torch.equal(slerp(a, -scale * a, w), out)


@given(st.integers(0, 3), st.sampled_from([-2.0, 1.0]), WEIGHT)
def test_the_way_around_needs_no_luck_with_the_axes(axis, length, w):
    a = torch.zeros(1, 4).double()
    a[0, axis] = length
    out = slerp(a, -a, w)
    assert float(out.norm()) == pytest.approx(abs(length), rel=1e-14)


@given(WEIGHT)
def test_on_a_line_there_is_no_way_around_and_no_nan(w):
    a = torch.tensor([[1.5]]).double()
    out = slerp(a, -a, w)
    assert out.isfinite().all() and float(out.abs()) <= 1.5


@given(SEED, WEIGHT, st.floats(-8, -3))
def test_nothing_jumps_near_the_degenerate_angles(seed, w, exponent):
    # from both sides of the switch at sin(theta) = 1e-6
    a = normal(1, 5, seed=seed)
    a = a / a.norm()
    side = normal(1, 5, seed=seed + 100)
    side = side - (side * a).sum() * a
    side = side / side.norm()
    theta = 10**exponent
    b = math.cos(theta) * a + math.sin(theta) * side
    exact = math.cos(w * theta) * a + math.sin(w * theta) * side
    # a line instead of an arc is wrong by theta^2 at most where it is used
    assert torch.allclose(slerp(a, b, w), exact, rtol=0, atol=1e-12)
    # near pi the plane of the turn is lost little by little, the norm never
    assert norms(slerp(a, -b, w)) == pytest.approx(1, abs=1e-9)


@given(WEIGHT)
def test_a_zero_vector_has_no_direction_and_no_nan(w):
    zero, b = torch.zeros(2, 4), normal(2, 4, dtype=torch.float32)
    assert torch.equal(slerp(zero, zero, w), zero)
    for out in (slerp(zero, b, w), slerp(b, zero, w)):
        assert out.isfinite().all()
        # never longer than the end that has a length
        assert (norms(out) <= norms(b) * (1 + 1e-6)).all()
    assert torch.equal(slerp(zero, b, 0.0), zero)
    assert torch.equal(slerp(zero, b, 1.0), b)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_dtype_shape_and_ends_are_kept(dtype):
    a, b = ends(0, 2, 3, 4, dtype=dtype)
    before = a.clone(), b.clone()
    out = slerp(a, b, torch.tensor([0.2, 0.7], dtype=torch.float16))
    assert out.dtype == dtype and out.shape == a.shape
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])


def test_half_precision_is_rounded_once():
    a, b = ends(1, 2, 5000, dtype=torch.float16)
    out = slerp(a, b, 0.3)
    exact = slerp(a.double(), b.double(), 0.3)
    assert torch.equal(out, exact.half())


def test_a_line_goes_from_end_to_end_in_even_steps():
    a, b = normal(3, 4), normal(3, 4, seed=1)
    line = slerp_line(a, b, 5)
    assert line.shape == (5, 3, 4)
    for i in range(5):
        point = slerp(a[None], b[None], i / 4)[0]
        assert torch.allclose(line[i], point, rtol=0, atol=4 * ULP)
    assert torch.allclose(line[[0, -1]], torch.stack([a, b]), rtol=1e-15)


def test_a_grid_has_its_four_corners():
    corners = normal(4, 2, 3, 3)
    grid = slerp_grid(corners, 4)
    assert grid.shape == (4, 4, 2, 3, 3)
    ours = torch.stack([grid[0, 0], grid[0, -1], grid[-1, 0], grid[-1, -1]])
    assert torch.allclose(ours, corners, rtol=0, atol=1e-14)


def test_d5_a_grid_is_slerp_in_pairs_then_across():
    corners = normal(4, 6)
    grid, weights = slerp_grid(corners, 5), torch.arange(5).double() / 4
    top_left, top_right, bottom_left, bottom_right = corners[:, None]
    for i, down in enumerate(weights.tolist()):
        left = slerp(top_left, bottom_left, down)
        right = slerp(top_right, bottom_right, down)
        for j, across in enumerate(weights.tolist()):
            point = slerp(left, right, across)[0]
            assert torch.allclose(grid[i, j], point, rtol=0, atol=1e-14)


def test_of_all_ways_around_the_same_one_is_taken():
    # over the first of the axes that the ends are furthest from
    a = torch.tensor([[2.0, 0.0, 0.0]]).double()
    middle = torch.tensor([[0.0, 2.0, 0.0]]).double()
    assert torch.allclose(slerp(a, -a, 0.5), middle, rtol=0, atol=4 * ULP)
