import torch

from vla_ros.policy.grad_cam import heat_of


def test_heat_is_features_by_their_mean_gradient_and_never_negative():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # two channels of 1 x 2 cells
    gradient = torch.tensor([[[[2.0, 4.0]], [[-3.0, -1.0]]]])  # means 3 and -2
    # 3 x 1 - 2 x 3 is negative, 3 x 2 - 2 x 0 is 6.
    assert heat_of(features, gradient).tolist() == [[[0.0, 6.0]]]
