"""Tiny random Qwen-VLs of transformers' own classes, in folders as the hub has them."""

import copy

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from vla_ros.policy.qwen_loading import load_backbone
from vla_ros.policy.qwen_tuning import QwenOptions

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "vocab_size": 272,  # 9 rows more than the tokenizer has tokens, as in the real models
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,  # so that random features differ visibly
    "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4},
    "bos_token_id": 256,
    "eos_token_id": 258,
}
VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "out_hidden_size": 16,
    "patch_size": 4,
    "initializer_range": 0.3,
}
IMAGE_SIZE = 24  # 3 x 3 tokens of 8 px


def tiny_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Bytes and the family's control tokens: indices 0 to 262."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    system = SYSTEM if family == "qwen2_5_vl" else ""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        chat_template=system + TEMPLATE,
    )


def tiny_model(family: str, tied: bool):
    shared = {
        "image_token_id": 261,
        "video_token_id": 262,
        "vision_start_token_id": 259,
        "vision_end_token_id": 260,
        "tie_word_embeddings": tied,
    }
    torch.manual_seed(0)
    if family == "qwen2_5_vl":
        vision = VISION | {"window_size": 16, "fullatt_block_indexes": [1]}
        config = Qwen2_5_VLConfig(text_config=TEXT, vision_config=vision, **shared)
        return Qwen2_5_VLForConditionalGeneration(config)
    vision = VISION | {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16}
    config = Qwen3VLConfig(text_config=TEXT | {"head_dim": 8}, vision_config=vision, **shared)
    return Qwen3VLForConditionalGeneration(config)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders of tiny models by family; Qwen2.5's has tied embeddings."""
    found = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        tiny_model(family, tied=family == "qwen2_5_vl").save_pretrained(folder)
        tiny_tokenizer(family).save_pretrained(folder)
        mean, std = [0.48, 0.45, 0.40], [0.27, 0.26, 0.25]
        Qwen2VLImageProcessorPil(
            image_mean=mean, image_std=std, patch_size=4, merge_size=2, min_pixels=64
        ).save_pretrained(folder)
        found[family] = folder
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
