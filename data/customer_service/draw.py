"""Draws the customers' photos: a table, and on it what the cue asks for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

PHOTO_PX = 96
CANVAS_PX = 192  # drawn at twice the size, so that the edges are smooth after the reduction
JPEG_QUALITY = 75
PRODUCT_COLOURS = ("#1f6fb5", "#2b8a57", "#7a4fa3", "#2aa1a1", "#5a6470", "#c2578f")
CARDBOARD, CARDBOARD_DARK, TAPE = "#b98a55", "#8a6238", "#ddc79a"
PAPER, INK, TAG, MARK = "#fbfbf7", "#1c1c1c", "#ffd21f", "#e01b1b"

Pen = ImageDraw.ImageDraw


def draw_photo(cue: str, product: str, rng: np.random.Generator) -> Image.Image:
    """Draws one photo.

    Args:
        cue: a key of `SCENES`.
        product: a key of `PRODUCTS`.
        rng: draws place, size, colours, tilt, light and noise.

    Returns:
        An RGB picture of `PHOTO_PX` x `PHOTO_PX`.
    """
    photo = draw_background(rng)
    x, y = (int(CANVAS_PX / 2 + shift) for shift in rng.integers(-18, 19, 2))
    SCENES[cue](ImageDraw.Draw(photo), x, y, int(rng.integers(44, 58)), product, rng)
    photo = photo.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, fillcolor=photo.getpixel((0, 0)))
    return add_camera(photo.resize((PHOTO_PX, PHOTO_PX), Image.Resampling.LANCZOS), rng)


def write_photo(path: Path, photo: Image.Image) -> None:
    """Writes a photo as JPEG."""
    photo.save(path, quality=JPEG_QUALITY)


def draw_background(rng: np.random.Generator) -> Image.Image:
    """Draws a wall and a table in pale colours, out of focus."""
    background = Image.new("RGB", (CANVAS_PX, CANVAS_PX), pale_colour(rng))
    pen = ImageDraw.Draw(background)
    for _ in range(4):
        x, y, size = (int(v) for v in rng.integers(0, CANVAS_PX, 3))
        pen.ellipse((x, y, x + size / 2, y + size / 3), fill=pale_colour(rng))
    pen.rectangle((0, rng.integers(120, 150), CANVAS_PX, CANVAS_PX), fill=pale_colour(rng))
    return background.filter(ImageFilter.GaussianBlur(5))


def pale_colour(rng: np.random.Generator) -> tuple[int, ...]:
    """Draws a greyish colour, unlike those of the things on the table."""
    grey = rng.integers(150, 205)
    return tuple(int(v) for v in grey + rng.integers(-12, 13, 3))


def add_camera(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Varies the light and adds the noise of a sensor."""
    photo = ImageEnhance.Brightness(photo).enhance(rng.uniform(0.85, 1.15))
    pixels = np.asarray(photo, np.float32) + rng.normal(0.0, 5.0, (PHOTO_PX, PHOTO_PX, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw_on_sale(pen: Pen, x: int, y: int, r: int, product: str, rng: np.random.Generator) -> None:
    """A product on a shop's shelf with a yellow price tag."""
    pen.rectangle((0, y + r, CANVAS_PX, y + r + 12), fill="#6b4a2f")
    draw_product(pen, x, y, r, product, rng)
    left, top = x - r + int(rng.integers(0, r // 2)), y + r - 8
    pen.rectangle((left, top, left + 84, top + 42), fill=TAG, outline=INK, width=3)
    price = f"${rng.integers(5, 100)}"
    pen.text((left + 8, top + 2), price, fill=INK, font=ImageFont.load_default(30))


def draw_receipt(pen: Pen, x: int, y: int, r: int, product: str, rng: np.random.Generator) -> None:
    """The slip of an order, with lines and a bar code."""
    left, right, top, bottom = x - r, x + r, y - r - 22, y + r + 18
    pen.rectangle((left, top, right, bottom), fill=PAPER, outline="#9a9a9a", width=2)
    for line in range(5):
        end = right - 10 - int(rng.integers(0, r))
        pen.rectangle((left + 10, top + 12 + 14 * line, end, top + 16 + 14 * line), fill="#70757a")
    bar = left + 8
    while bar < right - 12:
        width = int(rng.integers(2, 7))
        pen.rectangle((bar, bottom - 52, bar + width, bottom - 10), fill=INK)
        bar += width + int(rng.integers(3, 7))


def draw_broken(pen: Pen, x: int, y: int, r: int, product: str, rng: np.random.Generator) -> None:
    """A product with black cracks through it and its splinters beside it."""
    colour = draw_product(pen, x, y, r, product, rng)
    for angle in np.arange(5) * 2 * np.pi / 5 + rng.uniform(0, 1):
        bends = np.linspace(0, r * 0.9, 5)
        wobbles = rng.uniform(-8, 8, (5, 2))
        crack = [
            (x + d * np.cos(angle) + wx, y + d * np.sin(angle) + wy) for d, (wx, wy) in zip(bends, wobbles, strict=True)
        ]
        pen.line([(x, y), *crack], fill=INK, width=7, joint="curve")
    for side in (-1, -1, 1, 1):
        sx, sy = x + side * rng.uniform(r + 4, r + 26), y + r + rng.uniform(-14, 12)
        corners = [(sx + dx, sy + dy) for dx, dy in rng.uniform(-14, 14, (3, 2))]
        pen.polygon(corners, fill=colour, outline=INK)


def draw_ruined(pen: Pen, x: int, y: int, r: int, product: str, rng: np.random.Generator) -> None:
    """A crushed and torn parcel that the customer has crossed out in red."""
    dents = rng.uniform(-12, 12, (4, 2))
    edges = [(-r, -r * 0.5), (r, -r * 0.8), (r, r * 0.8), (-r * 0.8, r)]
    pen.polygon([(x + ex + dx, y + ey + dy) for (ex, ey), (dx, dy) in zip(edges, dents, strict=True)], CARDBOARD)
    hole = [(x + rng.uniform(0.2, 0.6) * r * np.cos(a), y + rng.uniform(0.2, 0.5) * r * np.sin(a)) for a in range(7)]
    pen.polygon(hole, fill="#3a2817")
    for slant in (-1, 1):
        pen.line((x - r, y - slant * r, x + r, y + slant * r), fill=MARK, width=13)


def draw_parcel(pen: Pen, x: int, y: int, r: int, product: str, rng: np.random.Generator) -> None:
    """A closed and intact parcel."""
    height = int(r * rng.uniform(0.65, 0.9))
    pen.polygon(
        [(x - r, y - height), (x - r + 24, y - height - 22), (x + r + 24, y - height - 22), (x + r, y - height)],
        "#cfa46f",
    )
    pen.polygon(
        [(x + r, y - height), (x + r + 24, y - height - 22), (x + r + 24, y + r - 22), (x + r, y + r)], CARDBOARD_DARK
    )
    pen.rectangle((x - r, y - height, x + r, y + r), fill=CARDBOARD)
    pen.rectangle((x - 9, y - height, x + 9, y + r), fill=TAPE)


def draw_nothing(pen: Pen, x: int, y: int, r: int, product: str, rng: np.random.Generator) -> None:
    """An empty table."""


def draw_product(pen: Pen, x: int, y: int, r: int, product: str, rng: np.random.Generator) -> str:
    """Draws a product that stands at y + r, and returns its colour."""
    colour = PRODUCT_COLOURS[rng.integers(len(PRODUCT_COLOURS))]
    PRODUCTS[product](pen, x, y, r, colour)
    return colour


def draw_mug(pen: Pen, x: int, y: int, r: int, colour: str) -> None:
    """A mug with its handle on the right."""
    pen.ellipse((x + r * 0.3, y - r * 0.5, x + r * 1.15, y + r * 0.6), outline=colour, width=12)
    pen.rounded_rectangle((x - r * 0.75, y - r * 0.8, x + r * 0.7, y + r), 12, fill=colour)
    pen.ellipse((x - r * 0.75, y - r, x + r * 0.7, y - r * 0.6), fill="#e9e6df", outline=colour, width=5)


def draw_lamp(pen: Pen, x: int, y: int, r: int, colour: str) -> None:
    """A lamp with a shade, a stem and a foot."""
    pen.rectangle((x - 5, y - r * 0.1, x + 5, y + r), fill="#50545a")
    pen.ellipse((x - r * 0.6, y + r * 0.75, x + r * 0.6, y + r * 1.05), fill="#50545a")
    pen.polygon(
        [(x - r * 0.45, y - r), (x + r * 0.45, y - r), (x + r, y + r * 0.15), (x - r, y + r * 0.15)], fill=colour
    )


def draw_phone(pen: Pen, x: int, y: int, r: int, colour: str) -> None:
    """A phone with its screen and its key."""
    pen.rounded_rectangle((x - r * 0.6, y - r, x + r * 0.6, y + r), 12, fill=colour)
    pen.rectangle((x - r * 0.47, y - r * 0.8, x + r * 0.47, y + r * 0.6), fill="#cfe3ee")
    pen.ellipse((x - 6, y + r * 0.7, x + 6, y + r * 0.7 + 12), fill="#cfe3ee")


def draw_bag(pen: Pen, x: int, y: int, r: int, colour: str) -> None:
    """A bag with its handle."""
    pen.arc((x - r * 0.45, y - r * 1.1, x + r * 0.45, y + r * 0.2), 180, 360, fill="#50545a", width=9)
    pen.polygon([(x - r * 0.75, y - r * 0.4), (x + r * 0.75, y - r * 0.4), (x + r, y + r), (x - r, y + r)], fill=colour)


PRODUCTS: dict[str, Callable] = {"mug": draw_mug, "lamp": draw_lamp, "phone": draw_phone, "bag": draw_bag}
SCENES: dict[str, Callable] = {
    "product_enquiry": draw_on_sale,
    "order_status": draw_receipt,
    "after_sales": draw_broken,
    "complaint": draw_ruined,
    "product": draw_product,
    "parcel": draw_parcel,
    "neutral": draw_nothing,
}
