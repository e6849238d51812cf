"""What drawings of cells have in common: colours for and against, heat maps, captions, escaping, data URIs.

All of it is HTML with inline styles: it works in a notebook, in a mail and in a report, in light and dark. A page that
has scripts or styles of its own finds its way by two classes: `mmkeras-heat` is a heat map over a picture (hide it to
see the picture), and `mmkeras-cursor` the line over a sound's picture (`left` is the share of `data-seconds` that has
been played, `opacity` is 0 until then; the player stands before it in the same `<div class="mmkeras-sound">`).
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Blue and orange: told apart with any kind of colour blindness, beside black text and beside white.
FOR, AGAINST = (0, 114, 255), (255, 120, 0)
WORD_ALPHA, HEAT_ALPHA = 0.6, 0.8
SCALABLE = ("L", "RGB", "RGBA", "CMYK")
MOST_OF_MANY = 0.99
LEVELS = 31  # of each heat map's two colours; more cannot be told apart
HEAT_PX, PICTURE_PX, SMALLEST_PX, AXES_PX = 128, 320, 160, 96
PICTURE_BYTES, QUALITIES = 40_000, (80, 60, 40, 20)
UPRIGHT, SIDEWAYS = 1, 5  # EXIF orientations: of the second and those that follow the sides are swapped
MUTED = "font-size:.8em;opacity:.8"
# Control characters but tab and line ends, halves of characters, and what no text may hold
UNSHOWN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escaped(text: str) -> str:
    """Text as HTML that shows it; characters without a shape, null bytes among them, are shown as U+FFFD."""
    return html.escape(UNSHOWN.sub("\ufffd", text))


def signed(value: float) -> str:
    """An attribution with its sign and three digits: +0.123, -1,230, +4.5e-07."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:+.1e}" if digits > 6 else f"{value:+,.{max(0, digits)}f}"


def checked(attribution: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An attribution as float64, without what is no number.

    Raises:
        ValueError: It is not of the shape that the column's cells have.
    """
    values = np.asarray(attribution, np.float64)
    if values.shape != tuple(shape):
        raise ValueError(f"attribution: got the shape {values.shape}, expected {tuple(shape)} for this column's cells")
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def full_scale(values: np.ndarray, scale: float | None = None) -> float:
    """The attribution that gets the full colour: the one that was asked for, or the largest."""
    return float(scale if scale else np.max(np.abs(values), initial=0.0))


def full_scale_of_many(values: np.ndarray, scale: float | None = None) -> float:
    """Of pixels or moments: a hundredth of those that count at all may be beyond it, or one pales all others."""
    counting = np.abs(values[values != 0])
    if scale or not counting.size:
        return full_scale(values, scale)
    return float(np.quantile(counting, MOST_OF_MANY, method="higher"))


def color(value: float, scale: float, alpha: float = WORD_ALPHA) -> str:
    """A value's colour in CSS, the fuller the nearer it is to the scale."""
    red, green, blue = FOR if value > 0 else AGAINST
    share = min(1.0, abs(value) / scale) if scale else 0.0
    return f"rgba({red},{green},{blue},{alpha * share:.2f})"


def mark(text: str, value: float, scale: float) -> str:
    """Escaped text on its colour: a word, a number. Where a page prints no backgrounds the line below it stays."""
    if not scale or abs(value) < scale / 200:
        return f'<span title="{signed(value)}">{text}</span>'
    line = f"{'solid' if value > 0 else 'dotted'} {color(value, scale, 1.0)}"
    style = f"background:{color(value, scale)};border-bottom:2px {line};border-radius:2px"
    return f'<span style="{style}" title="{signed(value)}">{text}</span>'


def legend(attribution: np.ndarray | None, scale: float, method: str, *remarks: str) -> str:
    """What the colours mean, how much the fullest stands for, and other remarks, as one line below a drawing."""
    parts = [] if attribution is None else [html.escape(method), *_colors(scale, full_scale(attribution) > scale)]
    parts = [part for part in (*parts, *map(html.escape, remarks)) if part]
    return f'<figcaption style="{MUTED};margin-top:.3em">{" · ".join(parts)}</figcaption>' if parts else ""


def remarks(*words: str) -> str:
    """The line below a drawing without colours."""
    return legend(None, 0.0, "", *words)


def figure(*parts: str) -> str:
    """A whole drawing; colours are printed too."""
    style = "margin:0;print-color-adjust:exact;-webkit-print-color-adjust:exact"
    return f'<figure style="{style}">{"".join(parts)}</figure>'


def side_by_side(parts: Iterable[str]) -> str:
    style = "display:flex;flex-wrap:wrap;gap:.5em;align-items:flex-start"
    return f'<div style="{style}">{"".join(parts)}</div>'


def files(
    draw: Callable[..., str],
    cell: bytes | list[bytes],
    attribution: np.ndarray | None,
    shape: tuple[int, ...],
    method: str,
    scale: float | None,
) -> str:
    """A cell's files side by side, each under its part of the attribution, with one scale for all.

    Args:
        draw: A function: a file's bytes, its values or None, `scale=` -> HTML.
        cell: One file's bytes, or several files'.
        attribution: Of the shape, or None.
        shape: Two axes of a file's values, with one of files before them where a cell of the column may hold several.
        method: Whose attribution it is.
        scale: What gets the full colour; None: what the values themselves suggest.
    """
    contents = [content for content in ([cell] if isinstance(cell, bytes) else cell or []) if content]
    if not contents:
        return note("missing")
    if attribution is None:
        return figure(side_by_side(draw(content, None) for content in contents))
    values = checked(attribution, shape).reshape(-1, *shape[-2:])
    scale = full_scale_of_many(values[: len(contents)], scale)
    drawn = (draw(content, part, scale=scale) for content, part in zip(contents, values, strict=False))
    return figure(side_by_side(drawn), legend(attribution, scale, method))


def note(words: str) -> str:
    """One line in place of a cell that is missing or cannot be shown."""
    return f'<p style="margin:0;opacity:.8"><em>{escaped(words)}</em></p>'


def data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


# Pictures


def thumbnail(content: bytes, most_px: int = PICTURE_PX) -> tuple[Any, tuple[int, int]]:
    """A small upright copy of a picture's bytes (Pillow, RGB, transparency over white), the full (height, width).

    Raises:
        ValueError: It cannot be decoded; says why.
    """
    import warnings

    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with warnings.catch_warnings(), Pillow.open(io.BytesIO(content)) as picture:
            warnings.simplefilter("ignore")  # of many pixels: a person should see them too
            width_px, height_px = upright_size(picture)
            # A large JPEG is decoded small; what has a palette or a transparent colour cannot be.
            small = picture if picture.mode in SCALABLE and "transparency" not in picture.info else _over_white(picture)
            small.thumbnail((most_px, most_px), reducing_gap=2.0)
            small = _over_white(ImageOps.exif_transpose(small))
    except Exception as error:  # Pillow's readers raise anything where a file is damaged
        reason = " ".join(str(error).split()) if not isinstance(error, Pillow.UnidentifiedImageError) else ""
        raise ValueError(f"a picture that cannot be shown{f': {reason}' if reason else ''}") from None
    return small, (height_px, width_px)


def upright_size(picture: Any) -> tuple[int, int]:
    """(width, height) of a Pillow picture as it is looked at: EXIF data may say that it lies on its side."""
    return picture.size[::-1] if orientation(picture.getexif()) >= SIDEWAYS else picture.size


def orientation(exif: Any) -> int:
    """1 to 8, by Pillow's EXIF data of a picture; 1 where they say nothing or nonsense."""
    from PIL import ExifTags

    orientation = exif.get(ExifTags.Base.Orientation, UPRIGHT)
    return orientation if orientation in range(UPRIGHT, UPRIGHT + 8) else UPRIGHT


def jpeg(picture: Any) -> str:
    """A Pillow picture as a data URI of at most 40 kB, unless its smallest JPEG is larger."""
    for quality in QUALITIES:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= PICTURE_BYTES:
            break
    return data_uri(stream.getvalue(), "image/jpeg")


def heat(values: np.ndarray, scale: float) -> str:
    """(H, W) attributions as a PNG data URI: blue for, orange against, clear where they are 0.

    More than 128 values a side are joined to their means.
    """
    from PIL import Image as Pillow

    height, width = (min(size, HEAT_PX) for size in values.shape)
    small = np.asarray(
        Pillow.fromarray(values.astype(np.float32)).resize((width, height), Pillow.Resampling.BOX), np.float64
    )
    shares = np.clip(small / scale, -1, 1) if scale else np.zeros_like(small)
    colored = Pillow.fromarray((LEVELS + np.rint(shares * LEVELS)).astype(np.uint8))
    levels = range(-LEVELS, LEVELS + 1)
    colored.putpalette([part for level in levels for part in (FOR if level > 0 else AGAINST)])
    stream = io.BytesIO()
    clearness = bytes(round(255 * HEAT_ALPHA * abs(level) / LEVELS) for level in levels)
    colored.save(stream, "PNG", transparency=clearness, optimize=True)
    return data_uri(stream.getvalue(), "image/png")


def seen(attribution: np.ndarray, size_px: tuple[int, int], aspect: str) -> np.ndarray:
    """The part of an (H, W) attribution that lies on the picture, without what `ops.pad_image` put around it.

    Args:
        attribution: One value for each pixel that the model sees.
        size_px: The picture's own (height, width).
        aspect: As for `ops.resize_image`, which this undoes.
    """
    if aspect == "stretch":
        return attribution
    sides = np.array(attribution.shape)
    scale = np.min(sides.astype(np.float32) / np.float32(size_px))
    height, width = np.clip(np.rint(np.float32(size_px) * scale).astype(int), 1, sides)
    top, left = (sides - (height, width)) // 2
    return attribution[top : top + height, left : left + width]


def picture(
    small: Any, alt: str, values: np.ndarray | None = None, scale: float = 0.0, least_px: int = SMALLEST_PX
) -> str:
    """A Pillow picture as HTML, in grey below the heat map of (h, w) values where there are some.

    Args:
        small: As `thumbnail` gives it.
        alt: What is read aloud.
        values: Attributions over the whole picture, however many each way.
        scale: What gets the full colour.
        least_px: Smaller pictures are shown enlarged, their longer side so long.
    """
    enlarged = max(1.0, least_px / max(small.size))
    style = "display:block;max-width:100%;height:auto"
    if values is not None:
        style += ";filter:grayscale(.8)"
        alt = f"{alt}; {strongest(values)}"
    image = f'<img src="{jpeg(small)}" alt="{escaped(alt)}" width="{round(small.width * enlarged)}" style="{style}">'
    if values is None:
        return image
    return f'<span style="position:relative;display:inline-block;max-width:100%">{image}{overlay(values, scale)}</span>'


def overlay(values: np.ndarray, scale: float) -> str:
    """The heat map of (H, W) values over all of the positioned element that it stands in."""
    style = "position:absolute;left:0;top:0;width:100%;height:100%;max-width:none;margin:0"
    return f'<img class="mmkeras-heat" src="{heat(values, scale)}" alt="" style="{style}">'


def strip(values: np.ndarray, words: str, style: str) -> str:
    """Sums of attributions, (1, N) or (N, 1), as a line of colours on a scale of its own."""
    source = heat(values, full_scale(values))
    return f'<img src="{source}" alt="{words}" title="{words}" style="display:block;max-width:none;margin:0;{style}">'


def with_axes(inside: str, down: Sequence[str], across: Sequence[str], above: str = "", beside: str = "") -> str:
    """A box 96 px high, as wide as there is room, with labels.

    Args:
        inside: What fills the box.
        down: Labels on its left side, the highest first.
        across: Labels below it.
        above: A line over it, as wide.
        beside: A line on its right side, as high.
    """
    labels = [
        f'<div style="display:flex;flex-direction:{way};justify-content:space-between;{size};text-align:right">'
        f"{''.join(f'<span>{words}</span>' for words in some)}</div>"
        for way, some, size in (("column", down, f"height:{AXES_PX}px"), ("row", across, "width:100%"))
    ]
    box = f'<div style="position:relative;height:{AXES_PX}px;overflow:hidden">{inside}</div>'
    cells = ("", above, "", labels[0], box, beside, "", labels[1], "")
    columns = "max-content minmax(0,1fr) max-content"
    style = f"display:grid;grid-template-columns:{columns};gap:2px 5px;font-size:.7em;line-height:1.2"
    return f'<div style="{style}">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>'


def strongest(values: np.ndarray) -> str:
    """Where the largest of (H, W) attributions lies, for who cannot see the heat map."""
    row, column = np.unravel_index(np.argmax(np.abs(values)), values.shape)
    across, down = (
        f"{(place + 0.5) / size:.0%}" for place, size in zip((column, row), values.shape[::-1], strict=True)
    )
    return f"strongest {signed(values[row, column])} at {across} from the left, {down} from the top"


def _over_white(picture: Any) -> Any:
    """As the graph shows what is transparent."""
    from PIL import Image as Pillow

    if picture.mode.startswith("I") or picture.mode == "F":
        # Pillow's own conversion to 8 bits cuts everything above 255 off.
        return Pillow.fromarray(np.clip(np.asarray(picture, np.float64) / 257.0, 0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Pillow.new("RGBA", picture.size, "white")
    return Pillow.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def _colors(scale: float, is_passed: bool) -> Iterable[str]:
    if not scale:
        return ["nothing speaks for or against the answer: all attributions are 0"]
    style = "padding:0 .6em;margin-right:.3em;border-radius:2px"
    swatches = [
        f'<span style="background:{color(sign, 1.0, HEAT_ALPHA)};{style}"></span>{words}'
        for sign, words in ((1, "for the answer (+)"), (-1, "against it (−)"))
    ]
    return [" ".join(swatches), f"full colour: {signed(scale).lstrip('+')}{' or more' * is_passed}"]
