"""Colours, captions and heat maps that all drawings share."""

import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from fixtures_drawn import Page, heats, pictures
from PIL import Image as Pillow

from mmkeras.base import html
from mmkeras.contracts.registry import find, members
from mmkeras.features import ops

POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'\">"
)
PLAYED = """new Promise((done, failed) => {
    const audio = document.querySelector("audio");
    audio.ontimeupdate = () => audio.currentTime > 0 && done("played");
    audio.play().catch(failed);
})"""
AUTOPLAY = "--autoplay-policy=no-user-gesture-required"


def encoded(picture, file_format="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1234, "+0.123"),
        (-0.01234, "-0.0123"),
        (-1234.5, "-1,234"),
        (12.34, "+12.3"),
        (4.54e-7, "+4.5e-07"),
        (0.0, "0"),
        (1e9, "+1,000,000,000"),
    ],
)
def test_an_attribution_has_a_sign_and_three_digits(value, shown):
    assert html.signed(value) == shown


def test_what_has_no_shape_is_shown_as_such():
    assert html.escaped('<a>&"\0\x1b\x85\ud800\n\té') == "&lt;a&gt;&amp;&quot;" + 4 * "\ufffd" + "\n\té"


def test_for_is_blue_and_against_orange():
    assert html.color(2.0, 4.0) == "rgba(0,114,255,0.30)"
    assert html.color(-4.0, 4.0) == "rgba(255,120,0,0.60)"
    assert html.color(-9.0, 4.0, alpha=1.0) == "rgba(255,120,0,1.00)"  # not more than full
    assert html.color(1.0, 0.0) == "rgba(0,114,255,0.00)"  # nothing counts


@pytest.mark.parametrize("background", [(255, 255, 255), (18, 18, 18)])
@pytest.mark.parametrize("rgb", [html.FOR, html.AGAINST])
def test_words_are_legible_on_their_colour_in_light_and_dark(rgb, background):
    """At least 4.5 : 1, what WCAG 2.1 asks of text (https://www.w3.org/TR/WCAG21/#contrast-minimum)."""
    mixed = html.WORD_ALPHA * np.array(rgb) + (1 - html.WORD_ALPHA) * np.array(background)
    letters = (17, 17, 17) if background[0] > 128 else (230, 230, 230)

    def luminance(color):
        share = np.array(color) / 255
        return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted([luminance(mixed), luminance(letters)])
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_caption_says_how_much_the_full_colour_is():
    caption = Page(html.legend(np.array([-0.5, 0.2]), 0.5, "a < b", "remark & co")).text
    assert caption == "a < b · for the answer (+) against it (−) · full colour: 0.500 · remark & co"
    assert "0.250 or more" in html.legend(np.array([-0.5, 0.2]), 0.25, "")
    assert "all attributions are 0" in html.legend(np.zeros(3), 0.0, "")
    assert html.remarks("", "only this") == html.remarks("only this") != html.remarks("") == ""


def test_one_pixel_in_a_hundred_may_be_beyond_the_full_colour():
    values = np.zeros(1000)
    values[:200] = -np.arange(1, 201)
    assert html.full_scale(values) == 200
    assert html.full_scale_of_many(values) == 199  # of 200 that count one is beyond
    assert html.full_scale_of_many(values, 7.0) == html.full_scale(values, 7.0) == 7
    assert html.full_scale_of_many(np.zeros(5)) == html.full_scale(np.zeros(0)) == 0


def test_an_attribution_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"attribution: got the shape \(3,\), expected \(2,\) for this column"):
        html.checked(np.zeros(3), (2,))
    np.testing.assert_array_equal(html.checked([np.nan, np.inf, -1], (3,)), [0, 0, -1])


def test_a_heat_map_shows_sign_and_size_in_place():
    (heat,) = heats(f'"{html.heat(np.array([[0, 1.0, -0.5], [0, 0, -9]]), scale=1.0)}"')
    np.testing.assert_allclose(heat, [[0, 1, -0.5], [0, 0, -1]], atol=0.03)


def test_a_large_heat_map_is_made_of_means():
    values = np.zeros((4, 256))
    values[:, 6] = 2.0
    (heat,) = heats(f'"{html.heat(values, scale=1.0)}"')
    assert heat.shape == (4, 128)
    np.testing.assert_allclose(heat[0, :5], [0, 0, 0, 1, 0], atol=0.03)


@pytest.mark.parametrize("aspect", ["keep", "stretch"])
@pytest.mark.parametrize("size_px", [(23, 31), (100, 9), (3, 400), (7, 7), (1, 1), (37, 61)])
def test_a_heat_map_lies_on_what_the_model_saw(size_px, aspect):
    """Each pixel that holds some of the picture, and none that was put around it."""
    resized = ops.image.resize_image(tf.ones((*size_px, 3)), 24, 17, aspect)
    padded = ops.image.pad_image(resized, 24, 17)[..., 0].numpy()
    padded *= np.arange(1, 24 * 17 + 1).reshape(24, 17)
    part = html.seen(np.arange(1, 24 * 17 + 1).reshape(24, 17), size_px, aspect)
    np.testing.assert_allclose(part, padded[np.ix_(padded.any(axis=1), padded.any(axis=0))], rtol=1e-5)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_pictures_of_every_mode_are_scaled(mode):
    small, size_px = html.thumbnail(
        encoded(Pillow.new("L", (640, 480), 100).convert(mode), "JPEG" if mode == "CMYK" else "PNG"), 64
    )
    assert (small.mode, small.size, size_px) == ("RGB", (64, 48), (480, 640))


def test_what_is_transparent_shows_white():
    clear = Pillow.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert html.thumbnail(encoded(clear))[0].getpixel((4, 4)) == (255, 255, 255)
    palette = Pillow.new("P", (8, 8), 0)
    assert html.thumbnail(encoded(palette, transparency=0))[0].getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("content", [b"", b"<script>", encoded(Pillow.new("RGB", (40, 40)))[:60]])
def test_a_picture_that_cannot_be_decoded_says_so(content):
    with pytest.raises(ValueError, match="a picture that cannot be shown"):
        html.thumbnail(content)


def test_even_noise_becomes_a_small_jpeg():
    noise = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8))
    assert len(html.jpeg(noise)) < 54_000  # 40 kB in base64


def test_a_small_picture_is_shown_enlarged_and_a_heat_map_over_all_of_it():
    drawn = html.picture(Pillow.new("RGB", (20, 40)), 'x"<', np.array([[0, 0], [0, -0.25], [0, 0]]), 1.0)
    (_, holder), (_, image), (_, overlay) = Page(drawn).elements
    assert image["width"] == "80"  # 40 px become 160
    assert image["alt"] == 'x"<; strongest -0.250 at 75% from the left, 50% from the top'
    assert "position:relative" in holder["style"] and "left:0;top:0;width:100%;height:100%" in overlay["style"]
    assert pictures(drawn)[0].size == (20, 40)
    np.testing.assert_allclose(heats(drawn)[0], [[0, 0], [0, -0.25], [0, 0]], atol=0.03)


@pytest.mark.slow
def test_a_browser_shows_every_picture_and_plays_every_sound(adapted):
    """Chromium, on a page as wide as a phone that may load nothing from elsewhere and run no script."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: nothing is rendered")
    chromium = shutil.which("chromium") or pytest.skip("no chromium: nothing is rendered")
    columns = [adapted(find("modality", name)()) for name in members("modality")]
    drawn = [modality.draw(modality.example(1), np.ones(attribution_shape(modality)), "method") for modality in columns]
    page_text = f"<!doctype html><meta charset=utf-8>{POLICY}<body style='margin:8px'>{''.join(drawn)}"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", AUTOPLAY])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.set_content(page_text)
        page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate(PLAYED) == "played"
        browser.close()
    assert said == []


def attribution_shape(modality):
    shapes = {feature: np.zeros((1, *spec.shape)) for feature, spec in modality.features.items()}
    return modality.attribute(shapes).shape[1:]
