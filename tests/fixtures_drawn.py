"""What a drawing of a cell holds: its pictures and sounds, decoded again, and what a browser would make of it."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image as Pillow

VOID = {"img", "br", "path", "polyline", "image", "circle"}


class Page(HTMLParser):
    """Elements with their attributes, and the text between them; asserts that every element is closed."""

    def __init__(self, drawn: str):
        super().__init__()
        self.elements, self.text, self._open = [], "", []
        self.feed(drawn)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def words(drawn: str) -> dict[str, str]:
    """{word: title} of all that has a title of its own; a word that stands twice has its last one."""
    return {word: title for title, word in re.findall(r'<span[^>]*title="([^"]*)">([^<]*)</span>', drawn)}


def contents(drawn: str, media_type: str) -> list[bytes]:
    """The files of a type in a drawing, in order."""
    return [base64.b64decode(found) for found in re.findall(rf'"data:{media_type};base64,([^"]*)"', drawn)]


def pictures(drawn: str) -> list[Pillow.Image]:
    return [Pillow.open(io.BytesIO(content)) for content in contents(drawn, "image/jpeg")]


def heats(drawn: str) -> list[np.ndarray]:
    """(H, W) of each heat map: how much colour, > 0 where it is blue and < 0 where it is orange, at most 1."""
    found = [Pillow.open(io.BytesIO(content)) for content in contents(drawn, "image/png")]
    rgba = [np.asarray(picture.convert("RGBA"), float) for picture in found]
    return [np.where(pixels[..., 2] > pixels[..., 0], 1, -1) * pixels[..., 3] / (0.8 * 255) for pixels in rgba]
