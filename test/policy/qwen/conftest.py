"""Backbones of tiny random Qwen-VLs."""

import copy

import pytest
import torch
from tiny_qwen import FAMILIES, IMAGE_SIZE, write_folder

from vla_ros.policy.qwen_loading import load_backbone
from vla_ros.policy.qwen_tuning import QwenOptions


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders of tiny models by family; Qwen2.5's has tied embeddings."""
    found = {family: tmp_path_factory.mktemp(family) for family in FAMILIES}
    for family, folder in found.items():
        write_folder(family, folder)
    return found


@pytest.fixture(params=FAMILIES)
def folder(request, folders):
    return folders[request.param]


@pytest.fixture
def load(folder):
    """Return a loader of the family's folder, or of another, with 24-px pictures."""

    def with_options(place=folder, with_weights=True, **options):
        return load_backbone(
            place, QwenOptions(image_size=IMAGE_SIZE, **options), with_weights=with_weights
        )

    return with_options


@pytest.fixture(scope="session")
def loaded(folders):
    """Return the folders' backbones, frozen."""
    options = QwenOptions(image_size=IMAGE_SIZE)
    return {family: load_backbone(folder, options).eval() for family, folder in folders.items()}


@pytest.fixture
def backbone(loaded, folder, folders):
    """Return a frozen backbone of the family, in evaluation mode: a copy, which loads faster."""
    return copy.deepcopy(loaded[next(f for f in FAMILIES if folders[f] == folder)])


@pytest.fixture
def images():
    """Two samples of two pictures."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, 2, 3, IMAGE_SIZE, IMAGE_SIZE)
    return torch.randint(0, 256, shape, generator=generator) / 127.5 - 1
