"""Pictures of nothing: what a gate is shown of all that no reading task is about.

They are made by rules, so that any number of them can be made anew and no photograph is needed.
None is of a kind that ``ml.refusal`` measures on: no photograph, page, screen, white noise or flat
colour is among them.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Random = np.random.Generator
Floats = npt.NDArray[np.floating]

SIDE = 160
"""Width and height in pixels."""


def clouds(random: Random) -> Image.Image:
    """Noise whose power falls with its frequency, as that of photographs does, in mixed colours."""
    layers = np.stack([_noise(random, random.uniform(0.6, 2.4)) for _ in range(3)], axis=-1)
    mixed = layers @ random.normal(size=(3, 3))
    return _picture(_tone(random, mixed / mixed.std()))


def gradients(random: Random) -> Image.Image:
    """One colour turning into another, straight or from a point outwards."""
    rows, columns = np.indices((SIDE, SIDE)) / SIDE
    turn, (row, column) = random.uniform(0, 2 * np.pi), random.uniform(0, 1, 2)
    straight = rows * np.sin(turn) + columns * np.cos(turn)
    way = straight if random.random() < 0.5 else np.hypot(rows - row, columns - column)
    share = ((way - way.min()) / np.ptp(way)) ** random.uniform(0.4, 2.5)
    first, last = _colour(random), _colour(random)
    return _picture(first + share[..., None] * (last - first))


def waves(random: Random) -> Image.Image:
    """Stripes, crossed by others or not."""
    rows, columns = np.indices((SIDE, SIDE)) / SIDE
    pixels = np.zeros((SIDE, SIDE, 3)) + _colour(random)
    for _ in range(int(random.integers(1, 4))):
        turn, count = random.uniform(0, np.pi), random.uniform(2, 50)
        way = rows * np.sin(turn) + columns * np.cos(turn)
        pixels += np.sin(2 * np.pi * count * way)[..., None] * random.normal(0, 50, 3)
    return _picture(pixels)


def mosaic(random: Random) -> Image.Image:
    """Cells of many colours, each of what lies nearest to its point."""
    rows, columns = np.indices((SIDE, SIDE))
    points = random.uniform(0, SIDE, (int(random.integers(6, 120)), 2))
    ways = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    colours = np.stack([_colour(random) for _ in points])
    return _picture(colours[ways.argmin(axis=-1)])


def lights(random: Random) -> Image.Image:
    """Soft discs over each other."""
    picture = Image.new("RGB", (SIDE, SIDE), _paint(random))
    draw = ImageDraw.Draw(picture, "RGBA")
    for _ in range(int(random.integers(5, 60))):
        (x, y), radius = random.uniform(0, SIDE, 2), random.uniform(4, 60)
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=(*_paint(random), int(random.integers(60, 256))))
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 6)))


def strokes(random: Random) -> Image.Image:
    """Winding lines on a plain ground."""
    picture = Image.new("RGB", (SIDE, SIDE), _paint(random))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(2, 40))):
        steps = random.normal(0, random.uniform(4, 25), (40, 2)).cumsum(axis=0)
        way = random.uniform(0, SIDE, 2) + steps
        points = [tuple(point) for point in way.tolist()]
        draw.line(points, fill=_paint(random), width=int(random.integers(1, 9)))
    return picture


def leaves(random: Random) -> Image.Image:
    """Textured shapes of all sizes that hide each other, whose statistics are near photographs'.

    Lee, Mumford, Huang 2001, "Occlusion models for natural images".
    """
    rows, columns = np.indices((SIDE, SIDE))
    texture = _noise(random, 1.2)[..., None]
    pixels = _tone(random, texture * random.normal(size=3))
    for radius in sorted(4 * random.pareto(1.2, 50) + 4, reverse=True):
        row, column = random.uniform(0, SIDE, 2)
        turn, narrow = random.uniform(0, np.pi), random.uniform(0.3, 1)
        along = (rows - row) * np.sin(turn) + (columns - column) * np.cos(turn)
        across = (rows - row) * np.cos(turn) - (columns - column) * np.sin(turn)
        inside = along**2 + (across / narrow) ** 2 < radius**2
        moved = np.roll(texture, (int(row), int(column)), axis=(0, 1))
        pixels[inside] = _colour(random) + moved[inside] * random.uniform(0, 40)
    return _picture(pixels)


KINDS: dict[str, Callable[[Random], Image.Image]] = {
    kind.__name__: kind for kind in (clouds, gradients, waves, mosaic, lights, strokes, leaves)
}


def invent(count: int, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """So many pictures of each kind, with the kind's name; the same ones for the same seed."""
    for place, (name, kind) in enumerate(KINDS.items()):
        for index in range(count):
            yield name, kind(np.random.default_rng((seed, place, index)))


def _noise(random: Random, fall: float) -> Floats:
    """Noise (SIDE, SIDE) of unit variance whose amplitude falls with that power of frequency."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.normal(size=(SIDE, SIDE))) / frequency**fall
    noise = np.fft.irfft2(spectrum, (SIDE, SIDE))
    return np.asarray(noise / noise.std())


def _tone(random: Random, layers: Floats) -> Floats:
    """Layers of about unit variance, brought to a colour and contrast."""
    return np.asarray(_colour(random) + layers * random.uniform(10, 70))


def _colour(random: Random) -> Floats:
    """Any colour, or a grey, which plain chance would make too seldom."""
    grey = random.random() < 0.25
    return np.asarray(np.repeat(random.uniform(0, 255), 3) if grey else random.uniform(0, 255, 3))


def _paint(random: Random) -> tuple[int, ...]:
    return tuple(int(value) for value in _colour(random))


def _picture(pixels: Floats) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
