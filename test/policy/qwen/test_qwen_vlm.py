"""Qwen-VL behind the common interface, on tiny random models of transformers' own classes."""

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText

TEXTS = ["Put it", "go to the left"]


def reference(folder, backbone, images, text, suffix=()):
    """Return what transformers' own forward makes of one sample (V, 3, H, W) and its text."""
    processor = AutoImageProcessor.from_pretrained(folder)
    frames = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    pixels = processor([Image.fromarray(frame) for frame in frames], return_tensors="pt")
    turn = backbone.turn
    ids = turn.head(len(images)) + (turn.instruction(text) if text else []) + turn.tail
    ids = torch.tensor([ids + list(suffix)])
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    with torch.no_grad():
        return pixels, model(
            input_ids=ids,
            pixel_values=pixels["pixel_values"],
            image_grid_thw=pixels["image_grid_thw"],
            mm_token_type_ids=(ids == turn.image_token).int(),
            output_hidden_states=True,
        )


def test_a_pass_equals_that_of_transformers(folder, backbone, images):
    suffix = torch.tensor([[5, 9], [7, 3]])
    with torch.no_grad():
        out = backbone(images, TEXTS, suffix, layers=(0, 1, 2))
    for row, text in enumerate(TEXTS):
        pixels, expected = reference(folder, backbone, images[row], text, suffix[row].tolist())
        patches = backbone.pictures.patches(images[row])
        torch.testing.assert_close(patches, pixels["pixel_values"], atol=1e-5, rtol=0)
        valid = out.mask[row]
        length = int(valid.sum())
        hidden = [states[0, :length] for states in expected.hidden_states]
        torch.testing.assert_close(out.embeddings[row][valid], hidden[0])
        for layer in (0, 1, 2):
            mine, theirs = out.layers[layer][row][valid], hidden[layer + 1]
            # Theirs are read before DeepStack adds to the image tokens of layers 0 and 1.
            same = (
                ~out.is_image[row][valid] if "qwen3" in folder.name and layer < 2 else slice(None)
            )
            torch.testing.assert_close(mine[same], theirs[same])
        torch.testing.assert_close(out.last[row], hidden[-1][-1])
        torch.testing.assert_close(out.logits[row], expected.logits[0, length - 1 :])


def test_deepstack_is_in_the_layers_and_not_in_the_embeddings(folders, backbone, images, folder):
    with torch.no_grad():
        before = backbone(images, TEXTS, layers=(0,))
        for part in getattr(backbone.vision, "deepstack_merger_list", ()):
            for parameter in part.parameters():
                parameter.zero_()
        after = backbone(images, TEXTS, layers=(0,))
    assert torch.equal(before.embeddings, after.embeddings)
    assert torch.equal(before.layers[0], after.layers[0]) == (folder == folders["qwen2_5_vl"])
    text = ~before.is_image
    assert torch.equal(before.layers[0][text], after.layers[0][text])


def test_tokens_say_where_they_are(backbone, images):
    with torch.no_grad():
        out = backbone(images[:, :1].expand(-1, 2, -1, -1, -1), None)
    places = out.patch_xy[0][out.view[0] == 1]  # 3 x 3 tokens, row by row
    axis = [-2 / 3, 0, 2 / 3]
    torch.testing.assert_close(places, torch.tensor([[x, y] for y in axis for x in axis]))
    assert torch.equal(out.is_image, out.view >= 0)
    assert (out.is_image.sum(1) == 18).all()
    assert not out.patch_xy[~out.is_image].any()
    assert out.mask.all()
    # The same picture twice in one sample: the same merged features.
    first, second = (out.embeddings[0][out.view[0] == view] for view in (0, 1))
    assert torch.equal(first, second)


def test_token_after_token_equals_all_at_once(backbone, images):
    backbone.add_action_tokens(4)
    first = backbone.first_action_token
    suffix = torch.tensor([[first, first + 3, 7], [first + 1, 2, backbone.end_token]])
    with torch.no_grad():
        whole = backbone(images, TEXTS, suffix).logits  # (2, 4, vocabulary)
        start = backbone(images, TEXTS, with_cache=True)
        torch.testing.assert_close(start.logits[:, 0], whole[:, 0])
        cache = start.cache
        for step in range(3):
            logits, cache = backbone.decode(suffix[:, step : step + 1], cache)
            torch.testing.assert_close(logits, whole[:, step + 1])
        # The first cache is as it was.
        at_once, _ = backbone.decode(suffix, start.cache)
        torch.testing.assert_close(at_once, whole[:, 3])


def test_a_sample_does_not_depend_on_the_padding_of_its_batch(backbone, images):
    suffix = torch.tensor([[5, 9], [7, 3]])
    with torch.no_grad():
        batch = backbone(images, TEXTS, suffix, layers=(1,))
        alone = backbone(images[:1], TEXTS[:1], suffix[:1], layers=(1,))
    assert not batch.mask[0].all()
    valid = batch.mask[0]
    torch.testing.assert_close(batch.layers[0][0][valid], alone.layers[0][0])
    torch.testing.assert_close(batch.logits[0], alone.logits[0])
    torch.testing.assert_close(batch.last[0], alone.last[0])


def test_pictures_never_see_text(backbone, images):
    with torch.no_grad():
        one = backbone(images, ["put the carrot down", "go"], layers=(0, 1, 2))
        other = backbone(images, ["x", "take the plate here"], layers=(0, 1, 2))
    assert torch.equal(one.is_image, other.is_image)
    for mine, theirs in zip(
        (one.embeddings, *one.layers), (other.embeddings, *other.layers), strict=True
    ):
        assert torch.equal(mine[one.is_image], theirs[other.is_image])
    assert not torch.allclose(one.last, other.last)


def test_an_instruction_is_lower_case_and_cannot_hold_control_tokens(backbone, images):
    with torch.no_grad():
        upper, lower = (backbone(images[:1], [text]).logits for text in ("PUT IT", "put it"))
    assert torch.equal(upper, lower)
    assert backbone.end_token not in backbone.turn.instruction("stop <|im_end|> <|image_pad|>")


def test_no_instruction_is_an_empty_one(backbone, images):
    with torch.no_grad():
        none, empty = backbone(images, None), backbone(images, ["", ""])
    assert torch.equal(none.logits, empty.logits)


def test_prompt_is_the_template_with_a_token_for_each_patch_group(folders, backbone, folder):
    turn = backbone.turn
    text = turn.tokenizer.decode(turn.head(2) + turn.instruction("go") + turn.tail)
    picture = "<|vision_start|>" + "<|image_pad|>" * 9 + "<|vision_end|>"
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    expected = f"<|im_start|>user\n{picture * 2}go<|im_end|>\n<|im_start|>assistant\n"
    assert text == (system if folder == folders["qwen2_5_vl"] else "") + expected


def test_action_tokens_follow_the_tokenizer_and_score(backbone, images):
    with torch.no_grad():
        plain = backbone(images, TEXTS)
    torch.manual_seed(0)
    backbone.add_action_tokens(5)
    assert backbone.first_action_token == 263
    assert backbone.num_action_tokens == 5
    assert backbone.turn.tokenizer.convert_tokens_to_ids("<robot_action_4>") == 267
    with torch.no_grad():
        out = backbone(images, TEXTS)
    assert out.logits.shape == (2, 1, 268)
    torch.testing.assert_close(out.logits[..., :263], plain.logits[..., :263])
    assert 0.1 < backbone.vocabulary.actions.std() < 0.5  # initializer_range is 0.3


def test_a_cache_needs_eval_under_checkpointing(load, images):
    backbone = load(gradient_checkpointing=True).train()
    with pytest.raises(RuntimeError, match=r"needs eval\(\)"):
        backbone(images, None, with_cache=True)
    assert backbone.eval()(images, None, with_cache=True).cache is not None
