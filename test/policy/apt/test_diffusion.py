import math

import numpy as np
import pytest
import torch

from vla_ros.policy.apt.diffusion import (
    add_noise,
    ddim,
    noise_loss,
    sampling_steps,
    signal_power,
)
from vla_ros.policy.apt.precondition import LinearGuess


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    """Do what torch.testing does, which takes seconds to import."""
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=rtol, atol=atol)


def test_squared_cosine_by_hand():
    # cos^2 of (t + 0.008) / 1.008 pi / 2 at t = 0, 1/2, 1: 0.999845, 0.493767, 0; beta <= 0.999.
    assert signal_power(2) == pytest.approx([0.493844, 0.000493844], rel=1e-5)
    power = signal_power(100)
    assert power == sorted(power, reverse=True)
    assert power[0] > 0.999
    assert power[99] < 1e-5


def test_noise_by_hand():
    noisy = add_noise(torch.full((2, 1), 2.0), torch.ones(2, 1), torch.tensor([0, 1]), 2)
    for value, power in zip(noisy[:, 0].tolist(), signal_power(2), strict=True):
        assert value == pytest.approx(2 * math.sqrt(power) + math.sqrt(1 - power))


def test_twenty_evenly_spaced_steps_end_at_zero():
    assert sampling_steps(100, 20) == list(range(95, -1, -5))


def test_ddim_recovers_a_known_gaussian():
    """The noise in x of N(mean, deviation^2) is known in closed form."""
    mean, deviation = torch.tensor([0.3, -2.0, 5.0]), 0.5
    steps, power = sampling_steps(100, 20), signal_power(100)

    def predict(x, update):
        p = power[steps[update]]
        return math.sqrt(1 - p) * (x - math.sqrt(p) * mean) / (p * deviation**2 + 1 - p)

    start = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    start = torch.cat([start, -start])
    samples = ddim(start, predict, 100, 20)
    # The first step's noise still holds sqrt(power) of the mean: 0.5 % of it and less.
    assert_close(samples.mean(0), mean, rtol=0.03, atol=0.01)
    assert samples.std(0).tolist() == pytest.approx([deviation] * 3, rel=0.1)


def test_ddim_of_a_single_point_is_that_point():
    point = torch.tensor([[0.3, -2.0]])
    steps, power = sampling_steps(100, 20), signal_power(100)

    def predict(x, update):
        p = power[steps[update]]
        return (x - math.sqrt(p) * point) / math.sqrt(1 - p)

    assert_close(ddim(torch.ones(1, 2), predict, 100, 20), point)


def test_loss_by_hand():
    noise = torch.zeros(1, 2, 2, 10)
    predicted = torch.zeros(1, 2, 2, 10)
    predicted[0, 0, 0, :3] = torch.tensor([0.3, -0.3, 0.3])
    predicted[0, 0, 0, 3:9] = 0.2
    predicted[0, 0, 1, 9] = -1.0
    predicted[0, 1] = 7.0  # of an arm that is missing
    is_used = torch.tensor([[[True, True], [False, False]]])
    loss = noise_loss(predicted, noise, is_used, (30, 10, 10))
    # Means over 2 steps: 0.3 / 2, 0.2 / 2 and 1 / 2.
    assert [x.item() for x in loss[1:]] == pytest.approx([0.15, 0.1, 0.5])
    assert loss.total.item() == pytest.approx(30 * 0.15 + 10 * 0.1 + 10 * 0.5)


def test_loss_of_no_step_is_zero():
    ones = torch.ones(1, 1, 1, 10)
    assert noise_loss(ones, 0 * ones, torch.zeros(1, 1, 1, dtype=torch.bool), (1, 1, 1)).total == 0


def test_a_linear_guess_is_exact_for_chunks_that_never_change():
    guess = LinearGuess(horizon=1, num_steps=100)
    mean = torch.full((1, 10), 0.3)
    guess.fit(mean, torch.zeros(1, 10))  # kept above 0.005
    noise = torch.randn(3, 1, 1, 10, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([5, 50, 99])
    noisy = add_noise(mean.expand(3, 1, 1, 10), noise, steps, 100)
    found = guess.noise(torch.zeros_like(noise), noisy, steps)
    # At step 5 a deviation of 0.005 is 1/21 of the noise's: a thousandth part is left open.
    assert_close(found, noise, atol=0.005, rtol=0.003)
    assert_close(guess.inputs(noisy, steps), noise, atol=1e-4, rtol=0.003)


def test_noise_has_unit_deviation_around_the_guess_in_its_own_scale():
    generator = torch.Generator().manual_seed(0)
    guess = LinearGuess(horizon=1, num_steps=100)
    guess.fit(torch.full((1, 10), 0.1), torch.full((1, 10), 0.04))
    chunks = 0.1 + 0.04 * torch.randn(4000, 1, 1, 10, generator=generator)
    noise = torch.randn(chunks.shape, generator=generator)
    for step in (0, 3, 60):
        steps = torch.full((1,), step)
        noisy = add_noise(chunks, noise, steps, 100)
        nothing = guess.noise(torch.zeros_like(noise), noisy, steps)
        one = guess.noise(torch.ones_like(noise), noisy, steps)
        answer = (noise - nothing) / (one - nothing)
        assert answer.std().item() == pytest.approx(1, abs=0.02)
        assert guess.inputs(noisy, steps).std().item() == pytest.approx(1, abs=0.02)


def test_an_answer_is_what_makes_the_guess_right():
    generator = torch.Generator().manual_seed(0)
    guess = LinearGuess(horizon=2, num_steps=100)
    deviation = torch.tensor([[0.02], [0.3]]).expand(2, 10)
    guess.fit(torch.full((2, 10), 0.1), deviation)
    chunks = 0.1 + deviation * torch.randn(2000, 1, 2, 10, generator=generator)
    noise = torch.randn(chunks.shape, generator=generator)
    for step in (0, 10, 60):
        steps = torch.full((1,), step)
        noisy = add_noise(chunks, noise, steps, 100)
        answer = guess.answer(chunks, noise, steps)
        assert_close(guess.noise(answer, noisy, steps), noise, atol=1e-4, rtol=1e-4)
        # Steps of small and of large motion count alike.
        assert answer[:, :, 0].std().item() == pytest.approx(1, abs=0.03)
        assert answer[:, :, 1].std().item() == pytest.approx(1, abs=0.03)
