import cv2
import numpy as np
import pytest
import simplejpeg

from vla_ros.core.errors import ContractError
from vla_ros.policy.pictures import (
    check_rgb,
    dataset_jpeg,
    dataset_picture,
    decode_jpeg,
    encode_jpeg,
    jpeg_shape,
    resize_for_model,
    resize_rgb,
)


def test_area_interpolation_averages_blocks():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[10], [20]], [[30], [40]]]
    assert resize_rgb(image, 2)[0, 0].tolist() == [25, 25, 25]


def test_an_image_of_the_right_size_is_returned_itself():
    image = np.zeros((4, 4, 3), np.uint8)
    assert resize_rgb(image, 4) is image


def test_resize_for_model_goes_through_the_dataset_size():
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    expected = resize_rgb(resize_rgb(image, 32), 8)
    assert (resize_for_model(image, 32, 8) == expected).all()


def test_jpeg_keeps_the_order_of_colours():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:] = (250, 120, 10)
    decoded = decode_jpeg(encode_jpeg(image, 95), "test")
    assert np.abs(decoded.astype(int) - image).max() < 6


@pytest.mark.parametrize("data", [b"", b"not a picture"])
def test_refuses_what_is_no_picture(data):
    with pytest.raises(ContractError, match="front cannot be decoded"):
        decode_jpeg(data, "front")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_refuses_other_arrays(image):
    with pytest.raises(ContractError, match=r"must be uint8 \(H, W, 3\) RGB"):
        check_rgb(image, "front")


def gradient(height, width):
    """Return a smooth picture whose three channels differ."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], -1).astype(np.uint8)


@pytest.mark.parametrize("shape", [(48, 64), (480, 640), (31, 33)])
def test_the_shape_is_read_from_the_header(shape):
    assert jpeg_shape(encode_jpeg(gradient(*shape), 90)) == shape


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00", b"\x89PNG" * 9])
def test_what_has_no_jpeg_header_has_no_shape(data):
    assert jpeg_shape(data) is None


def test_a_jpeg_of_the_datasets_size_is_kept_byte_for_byte():
    jpeg = encode_jpeg(gradient(32, 32), 70)
    kept, picture = dataset_jpeg(jpeg, 32, "front")
    assert kept == jpeg
    assert (picture == decode_jpeg(jpeg, "")).all()


def test_a_png_of_the_datasets_size_becomes_a_jpeg():
    data, _ = dataset_jpeg(cv2.imencode(".png", gradient(32, 32))[1].tobytes(), 32, "front")
    assert jpeg_shape(data) == (32, 32)


@pytest.mark.parametrize("shape", [(480, 640), (64, 64), (65, 100), (33, 40), (20, 20), (257, 600)])
def test_every_camera_comes_to_the_datasets_size_whatever_it_is_decoded_at(shape):
    image = gradient(*shape)
    data, picture = dataset_jpeg(encode_jpeg(image, 95), 32, "front")
    assert picture.shape == (32, 32, 3)
    expected = resize_rgb(image, 32).astype(int)
    assert np.abs(decode_jpeg(data, "") - expected).mean() < 3


def test_raw_pictures_and_jpegs_give_the_same_picture():
    image = gradient(96, 128)
    data, _ = dataset_jpeg(image, 32, "front")
    assert np.abs(decode_jpeg(data, "") - resize_rgb(image, 32).astype(int)).mean() < 3


def test_a_running_policy_sees_what_the_dataset_holds():
    jpeg = encode_jpeg(gradient(480, 640), 90)
    stored, _ = dataset_jpeg(jpeg, 224, "front")
    assert (dataset_picture(jpeg, 224, "front") == decode_jpeg(stored, "front")).all()


def holed(jpeg, start, zeros):
    """Return the JPEG with `zeros` bytes of its middle set to 0."""
    return jpeg[:start] + bytes(zeros) + jpeg[start + zeros :]


def noisy_jpeg():
    noise = np.random.default_rng(0).integers(-20, 20, (480, 640, 3))
    return encode_jpeg(np.clip(gradient(480, 640) + noise, 0, 255).astype(np.uint8), 90)


@pytest.mark.parametrize(
    "damage",
    [
        lambda jpeg: holed(jpeg, len(jpeg) // 2, 2000),
        lambda jpeg: jpeg[: len(jpeg) // 2] + jpeg[len(jpeg) // 2 + 500 :],
        lambda jpeg: jpeg[:-500],
    ],
    ids=["2000 bytes of 0", "500 bytes missing", "cut off"],
)
@pytest.mark.parametrize("size", [32, 224, 640])
def test_a_jpeg_with_a_hole_in_the_middle_is_no_picture(damage, size):
    jpeg = noisy_jpeg()
    dataset_jpeg(jpeg, size, "front")
    with pytest.raises(ContractError, match=r"front cannot be decoded .*(Corrupt|Premature)"):
        dataset_jpeg(damage(jpeg), size, "front")
    with pytest.raises(ContractError, match="front cannot be decoded"):
        decode_jpeg(damage(jpeg), "front")


@pytest.mark.parametrize(
    ("size", "flag"),
    [
        (300, cv2.IMREAD_COLOR_RGB),
        (224, cv2.IMREAD_REDUCED_COLOR_2),
        (120, cv2.IMREAD_REDUCED_COLOR_4),
        (32, cv2.IMREAD_REDUCED_COLOR_8),
    ],
)
def test_a_whole_jpeg_gives_the_bits_that_opencv_gives(size, flag):
    jpeg = noisy_jpeg()
    whole = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flag)
    if flag != cv2.IMREAD_COLOR_RGB:
        whole = cv2.cvtColor(whole, cv2.COLOR_BGR2RGB)
    _, picture = dataset_jpeg(jpeg, size, "front")
    assert (picture == resize_rgb(whole, size)).all()


def test_a_header_that_says_gigabytes_is_no_picture():
    for ending, header, at in ((".jpg", b"\xff\xc0", 5), (".png", b"IHDR", 4)):
        data = bytearray(cv2.imencode(ending, gradient(32, 32))[1].tobytes())
        start = data.index(header) + at
        sides = (b"\xfd\xe8" if ending == ".jpg" else b"\x00\x00\xfd\xe8") * 2
        data[start : start + len(sides)] = sides
        with pytest.raises(ContractError, match=r"decoded \(.*its header says 65000 x 65000"):
            dataset_jpeg(bytes(data), 32, "front")


def test_a_header_that_is_not_found_hides_no_size():
    jpeg = encode_jpeg(gradient(32, 32), 90)
    # A marker that has no length, which OpenCV skips.
    hidden = jpeg[:2] + b"\xff\x01" + jpeg[2:]
    with pytest.raises(ContractError, match=r"cannot be decoded \(.*: no picture"):
        decode_jpeg(hidden, "front")


def test_a_grey_jpeg_of_the_datasets_size_becomes_one_in_colour():
    grey = cv2.imencode(".jpg", gradient(32, 32)[:, :, 0])[1].tobytes()
    data, picture = dataset_jpeg(grey, 32, "front")
    assert simplejpeg.decode_jpeg_header(data)[2] == "YCbCr"
    assert (picture == picture[:, :, :1]).all()
    assert (picture[:, :, 0] == cv2.imdecode(np.frombuffer(grey, np.uint8), 0)).all()
