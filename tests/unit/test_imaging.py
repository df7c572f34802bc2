"""What becomes of uploads: right pixels, nothing but pixels, or a refusal with a reason."""

import concurrent.futures
import hashlib
import io
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from webapp import imaging
from webapp.errors import ImageRejected
from webapp.imaging import CleanImage, Notice, Reason

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of broken EXIF

WIDTH, HEIGHT = 96, 64
SECRET = b"SECRET-PLACE-51.5N-0.1W"


def picture() -> Image.Image:
    """Smooth, colourful, and different at each corner: any mirrored or swapped channel shows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    red = 255 * x / (WIDTH - 1)
    green = 255 * y / (HEIGHT - 1)
    blue = 255 * (1 - x / (WIDTH - 1)) * (1 - y / (HEIGHT - 1))
    return Image.fromarray(np.rint(np.dstack([red, green, blue])).astype(np.uint8))


def grey_picture() -> Image.Image:
    return Image.fromarray(np.asarray(picture())[:, :, 0])


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)), dtype=np.int16)


def assert_shows(cleaned: CleanImage, expected: Image.Image, mean: float, most: float) -> None:
    """The stored pixels are those expected, to a mean and a largest difference of 255."""
    assert (cleaned.width_px, cleaned.height_px) == expected.size
    stored = pixels(cleaned.data)
    wanted = np.asarray(expected, dtype=np.int16)
    assert stored.shape == wanted.shape
    difference = np.abs(stored - wanted)
    assert difference.mean() <= mean
    assert difference.max() <= most


def reason_for(data: bytes) -> Reason:
    with pytest.raises(ImageRejected) as refusal:
        imaging.clean(data)
    assert imaging.explain(refusal.value.reason, refusal.value.facts).strip()
    assert "%(" not in imaging.explain(refusal.value.reason, refusal.value.facts)
    return Reason(refusal.value.reason)


SAMPLES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(picture(), "JPEG", quality=90),
    "progressive jpeg": lambda: encoded(picture(), "JPEG", quality=90, progressive=True),
    "grey jpeg": lambda: encoded(grey_picture(), "JPEG"),
    "cmyk jpeg": lambda: encoded(picture().convert("CMYK"), "JPEG", quality=95),
    "mpo": lambda: encoded(picture(), "MPO", save_all=True, append_images=[grey_picture()]),
    "png": lambda: encoded(picture(), "PNG"),
    "16-bit png": lambda: encoded(deep_grey(), "PNG"),
    "palette png": lambda: encoded(picture().quantize(64), "PNG", transparency=3),
    "lossy webp": lambda: encoded(picture(), "WEBP", quality=90),
    "lossless webp": lambda: encoded(picture().convert("RGBA"), "WEBP", lossless=True),
    "tiff": lambda: encoded(picture(), "TIFF"),
    "deflate tiff": lambda: encoded(picture(), "TIFF", compression="tiff_adobe_deflate"),
    "lzw tiff": lambda: encoded(picture(), "TIFF", compression="tiff_lzw"),
    "jpeg tiff": lambda: encoded(picture(), "TIFF", compression="jpeg"),
    "float tiff": lambda: encoded(Image.fromarray(np.eye(40, dtype=np.float32)), "TIFF"),
    "bmp": lambda: encoded(picture(), "BMP"),
    "heic": lambda: encoded(picture(), "HEIF", quality=90),
}


def deep_grey() -> Image.Image:
    return Image.fromarray(np.asarray(grey_picture()).astype(np.uint16) * 257)


# Pixels


@pytest.mark.parametrize(
    ("sample", "mean", "most"),
    [
        ("jpeg", 1.5, 20),
        ("progressive jpeg", 1.5, 20),
        ("lossy webp", 3, 30),
        ("heic", 2.5, 30),
        ("jpeg tiff", 3, 40),
        ("png", 0, 0),
        ("lossless webp", 0, 0),
        ("tiff", 0, 0),
        ("deflate tiff", 0, 0),
        ("lzw tiff", 0, 0),
        ("bmp", 0, 0),
    ],
)
def test_colours_come_out_right(sample: str, mean: float, most: float) -> None:
    cleaned = imaging.clean(SAMPLES[sample]())
    assert_shows(cleaned, picture(), mean, most)
    assert cleaned.media_type == ("image/png" if most == 0 else "image/jpeg")
    assert cleaned.notices == ()


def test_a_lossy_input_is_stored_as_jpeg_without_chroma_subsampling() -> None:
    stored = Image.open(io.BytesIO(imaging.clean(SAMPLES["jpeg"]()).data))
    assert isinstance(stored, JpegImagePlugin.JpegImageFile)
    assert [layer[1:3] for layer in stored.layer] == [(1, 1)] * 3
    expected = Image.open(io.BytesIO(encoded(picture(), "JPEG", quality=95)))
    assert isinstance(expected, JpegImagePlugin.JpegImageFile)
    assert stored.quantization == expected.quantization


def test_cmyk_becomes_rgb() -> None:
    cleaned = imaging.clean(SAMPLES["cmyk jpeg"]())
    assert_shows(cleaned, picture().convert("CMYK").convert("RGB"), 2, 24)
    assert cleaned.notices == (Notice.COLOURS_CONVERTED,)


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How the pixels must lie in the file for each EXIF orientation to show `picture()`."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_orientation_is_applied_once(format_name: str, orientation: int) -> None:
    lying = Image.fromarray(np.ascontiguousarray(TURNED[orientation](np.asarray(picture()))))
    exif = Image.Exif()
    exif[0x0112] = orientation
    cleaned = imaging.clean(encoded(lying, format_name, exif=exif.tobytes()))
    assert_shows(cleaned, picture(), 3.5, 80)
    assert Image.open(io.BytesIO(cleaned.thumbnail)).size == (WIDTH, HEIGHT)


def test_a_turned_heic_comes_out_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.fromarray(np.ascontiguousarray(TURNED[6](np.asarray(picture()))))
    cleaned = imaging.clean(encoded(lying, "HEIF", quality=90, exif=exif.tobytes()))
    assert_shows(cleaned, picture(), 2.5, 30)


def test_a_broken_orientation_does_not_cost_the_picture() -> None:
    broken = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 30
    cleaned = imaging.clean(encoded(picture(), "JPEG", quality=90, exif=broken))
    assert_shows(cleaned, picture(), 1.5, 20)


def with_holes(image: Image.Image) -> Image.Image:
    """Left half opaque, right half wholly transparent, a stripe of half transparency between."""
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, :40] = 255
    alpha[:, 40:50] = 128
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


def on_white(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(float)
    alpha = values[..., -1:] / 255
    flat = np.rint(values[..., :-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return Image.fromarray(flat.squeeze())


@pytest.mark.parametrize("make", [picture, grey_picture])
def test_transparency_is_laid_onto_white(make: Callable[[], Image.Image]) -> None:
    holed = with_holes(make())
    cleaned = imaging.clean(encoded(holed, "PNG"))
    assert_shows(cleaned, on_white(holed), 0.5, 1)
    assert cleaned.notices == (Notice.TRANSPARENCY_ON_WHITE,)


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    cleaned = imaging.clean(encoded(picture().convert("RGBA"), "PNG"))
    assert_shows(cleaned, picture(), 0, 0)
    assert cleaned.notices == ()


def test_a_palette_with_transparency_is_laid_onto_white() -> None:
    paletted = picture().quantize(16)
    index = paletted.getpixel((WIDTH - 1, 0))
    expected = np.array(paletted.convert("RGB"))
    expected[np.asarray(paletted) == index] = 255
    cleaned = imaging.clean(encoded(paletted, "PNG", transparency=index))
    assert_shows(cleaned, Image.fromarray(expected), 0, 0)
    assert cleaned.notices == (Notice.TRANSPARENCY_ON_WHITE,)


def test_a_plain_palette_becomes_rgb() -> None:
    paletted = picture().quantize(32)
    assert_shows(imaging.clean(encoded(paletted, "PNG")), paletted.convert("RGB"), 0, 0)
    assert_shows(imaging.clean(encoded(paletted, "BMP")), paletted.convert("RGB"), 0, 0)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "BMP"])
def test_grey_stays_grey(format_name: str) -> None:
    cleaned = imaging.clean(encoded(grey_picture(), format_name))
    assert Image.open(io.BytesIO(cleaned.data)).mode == "L"
    assert_shows(cleaned, grey_picture(), 1.5, 8)


def test_black_and_white_becomes_grey() -> None:
    line_art = grey_picture().convert("1")
    cleaned = imaging.clean(encoded(line_art, "TIFF", compression="group4"))
    assert_shows(cleaned, line_art.convert("L"), 0, 0)


@pytest.mark.parametrize(
    ("format_name", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_16_bit_grey_is_scaled_by_its_whole_range(format_name: str, options: dict) -> None:
    values = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    cleaned = imaging.clean(encoded(Image.fromarray(values), format_name, **options))
    expected = np.rint(values / 257).astype(np.uint8)
    assert_shows(cleaned, Image.fromarray(expected), 0, 0)
    assert cleaned.notices == (Notice.DEPTH_REDUCED,)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position < len(data):
        length = struct.unpack_from(">I", data, position)[0]
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + b"".join(more)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunks
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def test_16_bit_colour_is_scaled_and_its_transparent_colour_laid_onto_white() -> None:
    values = np.asarray(picture()).astype(">u2") * 256 + 40
    clear = values[5, 7]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    transparent = png_chunk(b"tRNS", clear.astype(">u2").tobytes())
    cleaned = imaging.clean(png(WIDTH, HEIGHT, 16, 2, rows, transparent))
    expected = np.array(picture())
    expected[(expected == expected[5, 7]).all(axis=2)] = 255
    assert_shows(cleaned, Image.fromarray(expected), 0, 1)
    assert cleaned.notices == (Notice.TRANSPARENCY_ON_WHITE, Notice.DEPTH_REDUCED)


def test_white_is_zero_is_turned_round() -> None:
    values = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    data = encoded(Image.fromarray(values), "TIFF", tiffinfo=tags)
    sent = Image.open(io.BytesIO(data))
    assert isinstance(sent, TiffImagePlugin.TiffImageFile)
    assert sent.tag_v2[262] == 0
    expected = 255 - np.rint(values / 257).astype(np.uint8)
    assert_shows(imaging.clean(data), Image.fromarray(expected), 0, 0)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bit_grey_is_stretched(kind: type) -> None:
    values = np.linspace(-1000, 3000, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(kind)
    cleaned = imaging.clean(encoded(Image.fromarray(values), "TIFF"))
    expected = np.rint((values.astype(float) + 1000) / 4000 * 255).astype(np.uint8)
    assert_shows(cleaned, Image.fromarray(expected), 0.01, 1)
    assert Notice.CONTRAST_STRETCHED in cleaned.notices


def test_values_that_are_no_numbers_do_not_spoil_the_rest() -> None:
    values = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    values[0, :3] = [np.nan, np.inf, -np.inf]
    stored = pixels(imaging.clean(encoded(Image.fromarray(values), "TIFF")).data)
    assert stored[0, :3].tolist() == [0, 255, 0]
    assert stored[39, 39] == 255
    assert stored[0, 3] == 0
    nothing = np.full((40, 40), np.nan, np.float32)
    assert reason_for(encoded(Image.fromarray(nothing), "TIFF")) is Reason.UNREADABLE


def swapped_profile() -> bytes:
    """An RGB colour profile in which the primaries of red and blue change places."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(2.2 * 256))
    contents = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 8) + b"swapped\0" + bytes(79),
        b"wtpt": xyz(0.9642, 1, 0.8249),
        b"rXYZ": xyz(0.1430804, 0.0606169, 0.7141733),
        b"gXYZ": xyz(0.3850649, 0.7168786, 0.0971045),
        b"bXYZ": xyz(0.4360747, 0.2225045, 0.0139322),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(contents)), b""
    start = 128 + 4 + 12 * len(contents)
    for tag, content in contents.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02400000, *PROFILE_KINDS)
    header = header.ljust(64, b"\0") + struct.pack(">I", 0) + fixed(0.9642, 1, 0.8249)
    return header.ljust(128, b"\0") + table + body


PROFILE_KINDS = (b"mntr", b"RGB ", b"XYZ ", b"acsp")


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP"])
def test_a_colour_profile_is_applied(format_name: str) -> None:
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = encoded(picture(), format_name, icc_profile=swapped_profile(), **options)
    cleaned = imaging.clean(data)
    expected = Image.merge("RGB", picture().split()[::-1])
    assert_shows(cleaned, expected, 3, 16)
    assert cleaned.notices == (Notice.COLOURS_CONVERTED,)
    assert "icc_profile" not in Image.open(io.BytesIO(cleaned.data)).info


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cleaned = imaging.clean(encoded(picture(), "PNG", icc_profile=profile))
    assert_shows(cleaned, picture(), 0, 0)
    assert cleaned.notices == ()


@pytest.mark.parametrize("profile", [b"nonsense", swapped_profile()[:200], bytes(5000)])
def test_an_unusable_profile_is_ignored(profile: bytes) -> None:
    cleaned = imaging.clean(encoded(picture(), "PNG", icc_profile=profile))
    assert_shows(cleaned, picture(), 0, 0)


def test_a_profile_of_another_colour_space_is_ignored() -> None:
    cleaned = imaging.clean(encoded(grey_picture(), "PNG", icc_profile=swapped_profile()))
    assert_shows(cleaned, grey_picture(), 0, 0)


# Nothing but pixels


def telling_files() -> dict[str, bytes]:
    """Files that tell where and by whom they were made, in every way that their format has."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = SECRET.decode()
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 0.0), 3: "W", 27: SECRET})
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + SECRET + b"</x:xmpmeta>"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", SECRET.decode())
    texts.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    profile = swapped_profile() + SECRET
    both: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile}
    return {
        "jpeg": encoded(picture(), "JPEG", comment=SECRET, xmp=xmp, **both) + SECRET,
        "png": encoded(picture(), "PNG", pnginfo=texts, **both) + SECRET,
        "webp": encoded(picture(), "WEBP", xmp=xmp, **both) + SECRET,
        "tiff": encoded(picture(), "TIFF", **both) + SECRET,
        "heic": encoded(picture(), "HEIF", xmp=xmp, **both) + SECRET,
        "bmp": encoded(picture(), "BMP") + SECRET,
        "mpo": encoded(picture(), "MPO", save_all=True, append_images=[picture()], **both) + SECRET,
    }


@pytest.mark.parametrize("kind", telling_files())
def test_nothing_that_tells_a_place_or_a_person_is_kept(kind: str) -> None:
    data = telling_files()[kind]
    assert SECRET in data
    cleaned = imaging.clean(data)
    for kept in (cleaned.data, cleaned.thumbnail):
        assert SECRET not in kept
        image = Image.open(io.BytesIO(kept))
        image.load()
        assert not image.getexif()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    if cleaned.media_type == "image/png":
        kinds = {kind for kind, _ in png_chunks(cleaned.data)}
        assert kinds == {b"IHDR", b"IDAT", b"IEND"}
        assert cleaned.data.endswith(png_chunk(b"IEND", b""))
    else:
        assert cleaned.data.endswith(b"\xff\xd9")
        assert cleaned.data.count(b"\xff\xe0") == 1


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "heic"])
def test_data_behind_the_picture_is_told_of(kind: str) -> None:
    assert Notice.APPENDED_DATA_REMOVED in imaging.clean(telling_files()[kind]).notices
    padded = SAMPLES[kind if kind in SAMPLES else "lossy webp"]() + bytes(40)
    assert imaging.clean(padded).notices == ()


MOVIE = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(range(1, 200))


@pytest.mark.parametrize("kind", ["jpeg", "heic"])
def test_a_motion_photo_keeps_its_picture(kind: str) -> None:
    still = SAMPLES[kind]()
    movie = MOVIE if kind == "jpeg" else struct.pack(">I", len(MOVIE) + 8) + b"mpvd" + MOVIE
    cleaned = imaging.clean(still + movie)
    assert cleaned.notices == (Notice.VIDEO_REMOVED,)
    assert cleaned.sha256 == imaging.clean(still).sha256


def test_a_multi_picture_file_keeps_its_first_picture() -> None:
    cleaned = imaging.clean(SAMPLES["mpo"]())
    assert cleaned.notices == (Notice.FIRST_PICTURE_KEPT,)
    assert_shows(cleaned, picture(), 3, 60)
    glued = imaging.clean(SAMPLES["jpeg"]() + SAMPLES["grey jpeg"]())
    assert glued.notices == (Notice.FIRST_PICTURE_KEPT,)
    assert_shows(glued, picture(), 1.5, 20)


def test_a_heic_of_several_pictures_keeps_its_main_one() -> None:
    data = encoded(
        picture(), "HEIF", quality=90, save_all=True, append_images=[grey_picture().rotate(180)]
    )
    cleaned = imaging.clean(data)
    assert cleaned.notices == (Notice.FIRST_PICTURE_KEPT,)
    assert_shows(cleaned, picture(), 2.5, 30)


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_same_bytes_give_the_same_result(sample: str) -> None:
    data = SAMPLES[sample]()
    first = imaging.clean(data)
    assert imaging.clean(data) == first
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()
    assert first.original_sha256 == hashlib.sha256(data).hexdigest()


def test_threads_do_not_disturb_each_other() -> None:
    files = [make() for make in SAMPLES.values()]
    alone = [imaging.clean(data).sha256 for data in files]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: imaging.clean(data).sha256, files * 5))
    assert together == alone * 5


def test_thumbnails_are_small_and_keep_the_proportions() -> None:
    wide = imaging.clean(encoded(picture().resize((1200, 800)), "PNG"))
    thumbnail = Image.open(io.BytesIO(wide.thumbnail))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (320, 213))
    difference = np.asarray(thumbnail, np.int16) - np.asarray(
        picture().resize((320, 213)), np.int16
    )
    assert np.abs(difference).mean() < 3
    small = imaging.clean(SAMPLES["png"]())
    assert Image.open(io.BytesIO(small.thumbnail)).size == (WIDTH, HEIGHT)


def test_the_name_does_not_matter_but_the_content_does() -> None:
    """A TIFF that calls itself BMP in its first bytes is what its bytes are: not a picture."""
    assert reason_for(b"BM" + SAMPLES["tiff"]()) is Reason.UNREADABLE


# Refusals


def animated(format_name: str) -> bytes:
    return encoded(picture(), format_name, save_all=True, append_images=[picture().rotate(90)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"x", Reason.NOT_ACCEPTED),
        (b"\xff\xd8\xff", Reason.UNREADABLE),
        (b"hello, world" * 50, Reason.NOT_ACCEPTED),
        (encoded(picture().quantize(9), "GIF"), Reason.NOT_ACCEPTED),
        (encoded(picture(), "AVIF"), Reason.NOT_ACCEPTED),
        (encoded(picture(), "JPEG2000"), Reason.NOT_ACCEPTED),
        (encoded(picture(), "ICO"), Reason.NOT_ACCEPTED),
        (b"%PDF-1.7\n", Reason.NOT_ACCEPTED),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', Reason.NOT_ACCEPTED),
        (MOVIE, Reason.NOT_ACCEPTED),
        (animated("PNG"), Reason.ANIMATION),
        (animated("WEBP"), Reason.ANIMATION),
        (animated("TIFF"), Reason.MULTI_PAGE),
        (encoded(picture().resize((15, 400)), "PNG"), Reason.TOO_SMALL),
        (encoded(picture().resize((1, 400)), "BMP"), Reason.TOO_SMALL),
        (encoded(picture().resize((30001, 16)), "PNG"), Reason.TOO_LONG),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else f"{value[:12]!r}",
)
def test_what_cannot_be_kept_is_refused_with_its_reason(data: bytes, reason: Reason) -> None:
    assert reason_for(data) is reason


def test_the_kind_of_a_file_is_named_where_it_is_known() -> None:
    with pytest.raises(ImageRejected) as refusal:
        imaging.clean(encoded(picture().quantize(9), "GIF"))
    assert "GIF" in imaging.explain(refusal.value.reason, refusal.value.facts)


def test_a_camera_raw_file_does_not_pass_for_its_thumbnail() -> None:
    for tag, value in ((254, 1), (50706, b"\1\4\0\0")):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[tag] = value
        assert reason_for(encoded(picture(), "TIFF", tiffinfo=tags)) is Reason.NOT_ACCEPTED


def test_a_file_is_limited_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = SAMPLES["png"]()
    padding = imaging.MAX_BYTES - len(data)
    assert imaging.clean(data + bytes(padding)).width_px == WIDTH
    assert reason_for(data + bytes(padding + 1)) is Reason.TOO_LARGE


def test_pixels_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "MAX_PIXELS", WIDTH * HEIGHT)
    assert imaging.clean(SAMPLES["png"]()).width_px == WIDTH
    monkeypatch.setattr(imaging, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    for sample in ("png", "jpeg", "lossy webp", "lossless webp", "tiff", "bmp", "heic"):
        assert reason_for(SAMPLES[sample]()) is Reason.TOO_MANY_PIXELS


def resized_header(sample: str, width: int, height: int) -> bytes:
    """A small file whose header claims another size."""
    data = bytearray(SAMPLES[sample]())
    if sample == "jpeg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif sample == "bmp":
        data[18:26] = struct.pack("<ii", width, height)
    elif sample == "lossy webp":
        data[26:30] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    elif sample == "png":
        return png(width, height, 8, 2, b"")
    else:
        claimed = {256: width, 257: height}
        count = struct.unpack_from("<H", data, struct.unpack_from("<I", data, 4)[0])[0]
        first = struct.unpack_from("<I", data, 4)[0] + 2
        for entry in range(first, first + 12 * count, 12):
            tag = struct.unpack_from("<H", data, entry)[0]
            if tag in claimed:
                struct.pack_into("<HII", data, entry + 2, 4, 1, claimed[tag])
    return bytes(data)


@pytest.mark.parametrize("size", [(10001, 5000), (15000, 15000)])
@pytest.mark.parametrize("sample", ["jpeg", "png", "bmp", "tiff", "deflate tiff", "lossy webp"])
def test_a_bomb_is_refused_by_its_header(sample: str, size: tuple[int, int]) -> None:
    began = time.process_time()
    assert reason_for(resized_header(sample, *size)) is Reason.TOO_MANY_PIXELS
    assert time.process_time() - began < 1


def test_a_header_that_claims_more_than_there_is_is_refused() -> None:
    for sample in ("jpeg", "png", "bmp", "tiff", "deflate tiff"):
        assert reason_for(resized_header(sample, 3000, 2000)) is Reason.UNREADABLE


@pytest.mark.parametrize("sample", ["jpeg", "progressive jpeg", "grey jpeg", "cmyk jpeg"])
def test_a_jpeg_that_was_cut_and_closed_again_is_refused(sample: str) -> None:
    data = SAMPLES[sample]()
    first_scan_end = data.index(b"\xff", data.index(b"\xff\xda") + 2)
    cut = data[: (first_scan_end + data.index(b"\xff\xda")) // 2] + b"\xff\xd9"
    assert reason_for(cut) is Reason.UNREADABLE


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = SAMPLES["progressive jpeg"]()
    scan = data.rindex(b"\xff\xda")
    assert reason_for(data[:scan] + data[scan:-2] * 10_000 + data[-2:]) is Reason.UNREADABLE


def test_a_file_of_millions_of_empty_parts_is_refused_soon() -> None:
    jpeg, png_file = SAMPLES["jpeg"](), SAMPLES["png"]()
    files = [
        jpeg[:2] + b"\xff\xe5\0\2" * 6_000_000 + jpeg[2:],
        jpeg[:2] + b"\xff\xd8" * 12_000_000 + jpeg[2:],
        png_file[:33] + png_chunk(b"teSt", b"") * 2_000_000 + png_file[33:],
        b"RIFF\xff\xff\xff\xffWEBP" + bytes(100),
    ]
    began = time.process_time()
    assert {reason_for(data) for data in files} == {Reason.UNREADABLE}
    assert time.process_time() - began < 3


def test_text_that_unpacks_to_gigabytes_is_refused() -> None:
    packed = zlib.compress(bytes(100_000_000), 9)
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + packed)
    rows = bytes((3 * WIDTH + 1) * HEIGHT)
    assert reason_for(png(WIDTH, HEIGHT, 8, 2, rows, bomb)) is Reason.UNREADABLE


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_truncated_file_is_refused(sample: str, part: float) -> None:
    data = SAMPLES[sample]()
    if sample in ("mpo",):
        data = data[: data.index(b"\xff\xd9") + 2]  # what is lost behind it was not to be kept
    cut = data[: max(16, int(len(data) * part))]
    assert reason_for(cut) is Reason.UNREADABLE


def test_a_file_that_lost_something_else_than_pixels_is_refused_too() -> None:
    with_exif_last = encoded(picture(), "WEBP", exif=b"Exif\0\0" + bytes(50))
    assert imaging.clean(with_exif_last).width_px == WIDTH
    assert reason_for(with_exif_last[:-20]) is Reason.UNREADABLE
    box = struct.pack(">I", 30) + b"free" + bytes(22)
    assert imaging.clean(SAMPLES["heic"]() + box).width_px == WIDTH
    assert reason_for(SAMPLES["heic"]() + box[:-5]) is Reason.UNREADABLE


@pytest.mark.parametrize("sample", ["png", "16-bit png", "palette png"])
def test_a_png_that_was_changed_anywhere_that_matters_is_refused(sample: str) -> None:
    data = bytearray(SAMPLES[sample]())
    data[data.index(b"IDAT") + 4 + 100] ^= 0x10
    assert reason_for(bytes(data)) is Reason.UNREADABLE


def test_a_failing_decoder_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), struct.error(), SyntaxError(), RecursionError(), KeyError(1)):

        def fail(*_args: Any, error: Exception = error, **_options: Any) -> None:
            raise error

        monkeypatch.setattr(imaging.Image, "open", fail)
        assert reason_for(SAMPLES["png"]()) is Reason.UNREADABLE


def test_every_reason_and_notice_has_its_words() -> None:
    facts = {"limit_mb": 1, "limit_megapixels": 2, "limit_px": 3}
    assert len({imaging.explain(reason, facts) for reason in Reason}) == len(Reason)
    assert len({str(notice.label) for notice in Notice}) == len(Notice)


# Anything at all


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A real file, cut, overwritten in places, or with parts of it repeated."""
    data = bytearray(draw(st.sampled_from(FUZZED)))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(["set", "insert", "drop", "repeat"]))
        length = draw(st.integers(1, 24))
        if change == "set":
            data[at : at + length] = draw(st.binary(min_size=1, max_size=8))
        elif change == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif change == "drop" and len(data) > length + 1:
            del data[at : at + length]
        elif change == "repeat":
            data[at:at] = data[at : at + length]
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


FUZZED = [make() for make in SAMPLES.values()] + list(telling_files().values())


@given(damaged_files())
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_cleaned_or_refused(data: bytes) -> None:
    try:
        cleaned = imaging.clean(data)
    except ImageRejected:
        return
    image = Image.open(io.BytesIO(cleaned.data))
    assert image.size == (cleaned.width_px, cleaned.height_px)
    assert cleaned.sha256 == hashlib.sha256(cleaned.data).hexdigest()


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused(data: bytes) -> None:
    for start in (
        b"",
        b"\xff\xd8\xff",
        b"RIFF\0\1\0\0WEBP",
        b"II*\0",
        b"BM",
        b"\0\0\0\x18ftypheic",
    ):
        with pytest.raises(ImageRejected):
            imaging.clean(start + data)
