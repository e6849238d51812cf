"""Networks of keras.applications: which there are, what goes in, what stays and what learns."""

import io

import keras
import numpy as np
import pytest
from fixtures_pictures import batch, dead_weights, encoded
from fixtures_slow import few_of
from PIL import Image as Pillow

from mmkeras.components.encoders.applications import BACKBONES, FAMILY
from mmkeras.components.modalities.image import Image
from mmkeras.contracts.config import build
from mmkeras.contracts.registry import find
from mmkeras.network.build import build_network

SIZE = {"height_px": 32, "width_px": 32}  # the smallest of most networks


def application(network="mobilenet", **settings):
    """An `encoder` of keras.applications."""
    return {"type": "applications", "network": network, **settings}


@pytest.fixture(scope="module")
def cells():
    return [Image().example(seed) for seed in range(3)]


def chain(include_top, weights, input_shape):
    """A network of three blocks, each of half the height, with the same names whenever it is made."""
    values = picture = keras.Input(input_shape, name="picture")
    for i in range(3):
        values = keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name=f"conv_{i}")(values)
        values = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization(momentum=0.999, name=f"normal_{i}")(values))
    return keras.Model(picture, values, name="network")


def residual(include_top, weights, input_shape):
    """A network of two blocks that end in a sum; the second one weighs its channels, a normalisation follows it."""
    picture = keras.Input(input_shape, name="picture")
    values = keras.layers.Conv2D(4, 3, strides=8, name="stem")(picture)
    values = keras.layers.Add()([values, keras.layers.Conv2D(4, 1, name="first")(values)])
    inner = keras.layers.Conv2D(4, 1, name="second")(values)
    weights = keras.layers.Conv2D(4, 1, name="weigh")(keras.layers.GlobalAveragePooling2D(keepdims=True)(inner))
    values = keras.layers.Add()([values, keras.layers.Multiply()([inner, weights])])
    return keras.Model(picture, keras.layers.BatchNormalization(name="normal")(values), name="network")


@pytest.fixture
def network(monkeypatch, tmp_path):
    """A function: puts a network in MobileNet's place, returns the path of weights for it."""

    def put(make):
        monkeypatch.setattr(keras.applications, "MobileNet", make)
        keras.utils.set_random_seed(4)
        made = make(include_top=False, weights=None, input_shape=(32, 32, 3))
        for weight in made.non_trainable_variables:
            weight.assign(weight + 0.5)  # statistics that no new network has
        made.save_weights(tmp_path / "network.weights.h5")
        return str(tmp_path / "network.weights.h5")

    return put


@pytest.fixture
def as_they_are(monkeypatch):
    """Every network of keras.applications gives its input: tests of what goes in take no time."""

    def identity(include_top, weights, input_shape):
        picture = keras.Input(input_shape)
        return keras.Model(picture, keras.layers.Identity()(picture))

    for name in FAMILY:
        monkeypatch.setattr(keras.applications, name, identity)


def test_every_network_of_keras_applications_is_known():
    there = {name for name in dir(keras.applications) if name[:1].isupper()}
    assert set(FAMILY) == there
    for name, family in FAMILY.items():
        assert getattr(keras.applications, name).__module__.endswith(f".{family}")
        assert hasattr(getattr(keras.applications, family), "preprocess_input")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("VGG16", "VGG16"),
        ("vgg16", "VGG16"),
        ("resnet_50", "ResNet50"),
        ("efficient_net_b0", "EfficientNetB0"),
        ("efficientnet_v2_b0", "EfficientNetV2B0"),
        ("mobilenet-v2", "MobileNetV2"),
        ("ResNet50V2", "ResNet50V2"),
    ],
)
def test_networks_may_be_spelled_in_snake_or_class_case(spelling, name):
    image = Image(encoder=application(spelling), height_px=64, width_px=64)
    assert image.encoder[0].network == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoder": application("vg16")},
            r'columns\.photo\.encoder\.network: unknown network "vg16"; did you mean "vgg16"\? \(conv',
        ),
        ({"encoder": application("xyzzy")}, 'unknown network "xyzzy"; expected one of'),
        (
            {"encoder": application("InceptionV3")},
            "InceptionV3 needs height_px and width_px of at least 75, got 48 x 48",
        ),
        (
            {"encoder": application("vgg16"), "width_px": 31},
            "VGG16 needs height_px and width_px of at least 32, got 48 x 31",
        ),
        ({"encoder": {"type": "picture", "weights": "imagenet"}}, r'encoder\.weights: unknown key "weights"'),
        ({"encoder": application(unfrozen_blocks=-1)}, "unfrozen_blocks"),
    ],
)
def test_settings_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        build("modality", {"type": "image", **options}, "config.yaml columns.photo")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", few_of(BACKBONES, "efficientnet", "mobilenet", "resnet", "vgg16"))
def test_networks_get_pictures_scaled_as_they_were_trained(family, as_they_are, cells):
    """Undoing the z-score and scaling in the graph is what keras.applications does with the file's own numbers."""
    pixels = np.random.default_rng(2).integers(0, 256, (75, 80, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "PNG")
    image = Image(encoder=application(BACKBONES[family][0]), height_px=75, width_px=80).adapt(cells)
    tokens = encoded(image)(batch(image, [stream.getvalue()]))[1]
    wanted = getattr(keras.applications, family).preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(np.reshape(tokens, (75, 80, 3)), wanted, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", BACKBONES)
def test_gradients_reach_every_weight_of_a_network(adapted, family):
    keras.utils.set_random_seed(1)
    image = adapted(Image(encoder=application(BACKBONES[family][0]), height_px=75, width_px=75))
    assert not dead_weights(encoded(image), batch(image, [image.example(seed) for seed in (1, 2, 3)]))


@pytest.mark.slow
def test_given_weights_are_loaded_and_stay(adapted, tmp_path):
    keras.utils.set_random_seed(4)
    backbone = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
    backbone.save_weights(tmp_path / "mobilenet.weights.h5")
    image = adapted(Image(encoder=application("mobile_net", weights=str(tmp_path / "mobilenet.weights.h5")), **SIZE))
    model, rows = encoded(image), batch(image, [image.example(1), image.example(2)])
    pictures = np.array(rows["pixels"]) * image.deviation + image.mean
    wanted = backbone(keras.applications.mobilenet.preprocess_input(pictures.astype(np.float32)))
    np.testing.assert_allclose(model(rows)[1], wanted[:, 0], rtol=1e-3, atol=1e-5)
    assert all("dense" in weight.path for weight in model.trainable_variables)


@pytest.mark.parametrize(
    ("make", "blocks", "learning"),
    [
        (chain, 0, []),
        (chain, 1, ["conv_2/kernel"]),
        (chain, 2, ["conv_1/kernel", "conv_2/kernel"]),
        (chain, 9, ["conv_0/kernel", "conv_1/kernel", "conv_2/kernel"]),
        (residual, 1, ["second/bias", "second/kernel", "weigh/bias", "weigh/kernel"]),
        (
            residual,
            2,
            [f"{name}/{part}" for name in ("first", "second", "stem", "weigh") for part in ("bias", "kernel")],
        ),
    ],
)
def test_blocks_at_the_top_may_learn(make, blocks, learning, adapted, network):
    weights = network(make)
    image = adapted(Image(encoder=application(weights=weights, unfrozen_blocks=blocks), size_bins=0, **SIZE))
    model, rows = encoded(image), batch(image, [image.example(1), image.example(2)])
    assert sorted(weight.path for weight in model.trainable_variables if "dense" not in weight.path) == learning
    assert not dead_weights(model, rows)


def test_what_is_frozen_is_the_same_in_training(adapted, network):
    """Its batch normalisation keeps its statistics, its dropout drops nothing."""
    image = adapted(Image(encoder=application(weights=network(chain)), **SIZE))
    model, rows = encoded(image), batch(image, [image.example(1), image.example(2)])
    np.testing.assert_array_equal(model(rows, training=True)[1], model(rows)[1])


def test_batch_normalization_from_scratch_learns_in_few_steps(adapted, monkeypatch):
    monkeypatch.setattr(keras.applications, "MobileNet", chain)
    image = adapted(Image(encoder=application(), **SIZE))
    model, rows = encoded(image), batch(image, [image.example(1), image.example(2)])
    mean = next(weight for weight in model.non_trainable_variables if "normal_0/moving_mean" in weight.path)
    steps = [np.array(mean) for _ in range(2) if model(rows, training=True)]
    np.testing.assert_allclose(steps[1] / steps[0], 1.9, rtol=1e-3)  # 0.1 + 0.9 * 0.1 over 0.1 of the batch's mean


@pytest.mark.parametrize(
    ("weights", "frozen", "stays"),
    [("none", None, False), ("none", True, True), ("x", None, True), ("x", False, False)],
)
def test_weights_stay_if_they_are_given(weights, frozen, stays):
    image = Image(encoder=application(weights=weights, frozen=frozen))
    (encoder,), (trained,) = image.encoder, image.trained().encoder
    assert encoder.is_frozen == stays
    assert (trained.weights, trained.is_frozen) == ("none", stays)


def test_weights_that_cannot_be_had(tmp_path, cells, monkeypatch, network):
    with pytest.raises(ValueError, match='weights: no file ".*nowhere.h5"; expected none, imagenet or the path'):
        Image(encoder=application(weights=str(tmp_path / "nowhere.h5"))).adapt(cells)

    weights = network(residual)
    monkeypatch.setattr(keras.applications, "MobileNet", chain)
    image = Image(encoder=application(weights=weights), **SIZE).adapt(cells)
    with pytest.raises(ValueError, match="encoder MobileNet: .* cannot be loaded: .*include_top=False") as caught:
        encoded(image)
    assert "\n" not in str(caught.value)


def test_trained_networks_fetch_nothing(cells, monkeypatch):
    def fail(include_top, weights, input_shape):
        if weights:
            raise Exception("URL fetch failure on https://example.org: no route")
        return chain(include_top, weights, input_shape)

    monkeypatch.setattr(keras.applications, "MobileNet", fail)
    image = Image(encoder=application(weights="imagenet"), **SIZE).adapt(cells)
    with pytest.raises(ValueError, match='weights "imagenet" cannot be loaded: URL fetch failure'):
        encoded(image)
    assert [weight.path for weight in encoded(image.trained()).trainable_variables if "conv" in weight.path] == []


@pytest.mark.slow
def test_imagenet_weights_of_an_efficient_net_divide_once_more(cells, monkeypatch, tmp_path):
    """Keras does so by a layer that a network without weights lacks; a trained run must give the same."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def network(include_top, weights, input_shape):
        picture = keras.Input(input_shape)
        normalization = keras.layers.Normalization()
        values = normalization(keras.layers.Rescaling(1 / 255)(picture))
        if weights == "imagenet":
            normalization.set_weights([mean, deviation**2, np.array(0)])
            normalization.finalize_state()
            values = keras.layers.Rescaling(1 / np.sqrt(deviation))(values)
        return keras.Model(picture, values)

    monkeypatch.setattr(keras.applications, "EfficientNetB0", network)
    image = Image(encoder=application("EfficientNetB0", weights="imagenet"), **SIZE).adapt(cells)
    rows = batch(image, cells[:1])
    pictures = np.array(rows["pixels"]) * image.deviation + image.mean
    wanted = network(False, "imagenet", (32, 32, 3))(pictures)
    model = encoded(image)
    np.testing.assert_allclose(np.reshape(model(rows)[1], wanted.shape), wanted, atol=1e-4)
    trained = encoded(image.trained())
    model.save_weights(tmp_path / "model.weights.h5")
    trained.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(trained(rows)[1], model(rows)[1], atol=1e-5)


@pytest.mark.slow
def test_two_columns_may_have_the_same_network(adapted, network, adapted_head, tmp_path):
    image = adapted(Image(encoder=application(weights=network(chain), unfrozen_blocks=1), **SIZE))
    head = adapted_head(find("head", "classification")())
    parts = find("fusion", "concat")(), {"target": head}
    model = build_network({"front": image, "back": image}, *parts).model
    again = build_network({"front": image.trained(), "back": image.trained()}, *parts).model
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    inputs = {column: batch(image, [image.example(seed)]) for column, seed in (("front", 1), ("back", 2))}
    np.testing.assert_allclose(again(inputs)["target"], model(inputs)["target"], rtol=1e-5)
