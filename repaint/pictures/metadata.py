"""Metadata of images: EXIF, XMP, ICC profile, gamma, text and TIFF tags, and which file formats hold them."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo, iTXt

from repaint.warning_filters import filtered

__all__ = ["collected", "exif_orientation", "save_options", "without_thumbnail"]

Info = dict[Any, Any]  # as PIL types it

# TIFF tags that describe how the pixels are stored, or that have an entry of their own (dpi, ICC, XMP, orientation).
_STRUCTURE = {
    *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 288),
    *(289, 290, 291, 292, 293, 296, 301, 317, 320, 321, 322, 323, 324, 325, 330, 332, 334, 336, 338, 339, 340, 341),
    *(342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 34675),
}
_XMP_TAG = 700
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)\d')
# Entries of `info` that are text but not text chunks of a PNG file.
_NOT_TEXT = ("compression", "icc_profile_type", "XML:com.adobe.xmp")
_HOLDS: dict[str, tuple[str, ...]] = {
    "PNG": ("exif", "icc_profile", "xmp", "dpi", "gamma", "chromaticity", "text", "comment"),
    "TIFF": ("exif", "icc_profile", "xmp", "dpi"),
    "JPEG": ("exif", "icc_profile", "xmp", "dpi", "comment"),
    "WEBP": ("exif", "icc_profile", "xmp"),
    "AVIF": ("exif", "icc_profile", "xmp"),
    "BMP": ("dpi",),
    "GIF": ("comment",),
}
_NAMES = {
    "exif": "EXIF",
    "icc_profile": "the ICC colour profile",
    "xmp": "XMP",
    "dpi": "the resolution (dpi)",
    "gamma": "gamma (gAMA)",
    "chromaticity": "chromaticity (cHRM)",
    "comment": "the comment",
}
_COMMON_DPI = {0, 1, 72, 96}  # defaults of programs, not worth a warning


def exif_orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8; 1 if it is missing or the EXIF block is damaged.

    An orientation that only XMP has is ignored, as browsers do. PIL would apply it.
    """
    with filtered("ignore"):
        try:
            found = image.getexif().get(ExifTags.Base.Orientation, 1)
            if found != 1 and _XMP_ORIENTATION.search(_xmp(image)) and not _has_orientation(image):
                return 1
        except Exception:  # PIL raises many types for a damaged EXIF block; viewers show the pixels as stored
            return 1
    return found if found in range(1, 9) else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) as displayed, from the header alone."""
    width, height = image.size
    return (width, height) if exif_orientation(image) > 4 else (height, width)


def _has_orientation(image: Image.Image) -> bool:
    """Test whether the EXIF block itself, without XMP, has an orientation."""
    if hasattr(image, "tag_v2"):
        return ExifTags.Base.Orientation in image.tag_v2
    bare = Image.new("1", (1, 1))
    bare.info = {key: value for key, value in image.info.items() if key in ("exif", "Raw profile type exif")}
    return ExifTags.Base.Orientation in bare.getexif()


def _xmp(image: Image.Image) -> bytes:
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if not found and hasattr(image, "tag_v2"):
        found = image.tag_v2.get(_XMP_TAG, b"")
    return found.encode() if isinstance(found, str) else bytes(found)


def collected(image: Image.Image, turned: bool = False) -> Info:
    """Gather the metadata of an image in the form of PIL's `info`, which survives copies of the image.

    Args:
        image: its own `info` is not changed. The tags of a TIFF file become part of "exif".
        turned: the pixels are or will be turned upright: an orientation in EXIF and XMP becomes 1.
    """
    info = {key: value for key, value in image.info.items() if key not in _NOT_TEXT}
    info = {str(key): value for key, value in info.items() if not str(key).startswith("Raw profile type")}
    with filtered("ignore"):
        try:
            exif = info.pop("exif", b"") or _exif_bytes(image)
        except Exception:  # PIL raises many types for a damaged EXIF block, which is not copied
            exif = b""
    if exif and not exif.startswith(b"Exif\0\0"):  # WebP files lack this prefix, and JPEG files need it
        exif = b"Exif\0\0" + exif
    xmp = _xmp(image)
    if turned:
        exif, xmp = _upright_exif(exif), _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return info | {name: value for name, value in (("exif", exif), ("xmp", xmp)) if value}


def _exif_bytes(image: Image.Image) -> bytes:
    """Encode the EXIF entries of an image that has no EXIF block of its own: of TIFF tags, or set by the caller."""
    exif = image.getexif()
    if hasattr(image, "tag_v2"):
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if group in exif:
                exif.get_ifd(group)
        kept = Image.Exif()
        for tag, value in exif.items():
            if tag not in _STRUCTURE:
                kept[tag] = exif.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else value
        exif = kept
    elif ExifTags.Base.Orientation in exif and _XMP_ORIENTATION.search(_xmp(image)):
        exif = Image.Exif()  # PIL took the orientation, and nothing else, from XMP
    return exif.tobytes() if len(exif) else b""


def _upright_exif(exif: bytes) -> bytes:
    """Set the orientation of an EXIF block to 1 in place, so that maker notes and thumbnails keep their offsets."""
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = ">" if exif[start : start + 2] == b"MM" else "<"
    changed = bytearray(exif)
    with suppress(struct.error):  # of a damaged block, PIL and viewers read the entries before the damage
        (ifd,) = struct.unpack_from(f"{order}I", exif, start + 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start + ifd)
        for entry in range(start + ifd + 2, start + ifd + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}H", exif, entry)[0] == ExifTags.Base.Orientation:
                struct.pack_into(f"{order}HHIHxx", changed, entry, ExifTags.Base.Orientation, 3, 1, 1)
    return bytes(changed)


def without_thumbnail(exif: bytes) -> bytes:
    """Remove the thumbnail of an EXIF block in place: it shows what was repainted. All other offsets stay valid.

    Args:
        exif: see `collected`; a damaged block is returned as it is.
    """
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = ">" if exif[start : start + 2] == b"MM" else "<"
    changed = bytearray(exif)
    try:
        end = start + struct.unpack_from(f"{order}I", exif, start + 4)[0]
        end += 2 + 12 * struct.unpack_from(f"{order}H", exif, end)[0]
        (second,) = struct.unpack_from(f"{order}I", exif, end)
        if not second:
            return exif
        (count,) = struct.unpack_from(f"{order}H", exif, start + second)
        places = range(start + second + 2, start + second + 2 + 12 * count, 12)
        entries = {struct.unpack_from(f"{order}H", exif, place)[0]: place for place in places}
        offset, length = (struct.unpack_from(f"{order}I", exif, entries[tag] + 8)[0] for tag in (0x0201, 0x0202))
        thumbnail = slice(start + offset, min(start + offset + length, len(exif)))
        changed[thumbnail] = bytes(len(changed[thumbnail]))
        struct.pack_into(f"{order}I", changed, end, 0)
    except (struct.error, KeyError):  # damaged, or without a JPEG thumbnail
        return exif
    return bytes(changed)


def save_options(info: Mapping[Any, Any], form: str) -> tuple[Info, list[str]]:
    """Convert metadata to arguments of `PIL.Image.save`.

    Args:
        info: see `collected`.
        form: PIL's name of the file format.
    Returns:
        The arguments, and names of what the format cannot hold.
    """
    found = {name: info[name] for name in _NAMES if info.get(name)}
    text = _text(info)
    if isinstance(found.get("comment"), str):
        del found["comment"]  # a text chunk of this name
    lost = [_NAMES[name] for name in found if name not in _HOLDS[form] and not _common(name, found[name])]
    if text and "text" not in _HOLDS[form]:
        lost.append(f"the text {', '.join(repr(key) for key in list(text)[:3])}{', ...' if len(text) > 3 else ''}")
    options = {name: value for name, value in found.items() if name in _HOLDS[form]}
    if form == "PNG":
        chunks = _png_chunks(text, options)
        for name in ("xmp", "gamma", "chromaticity", "comment"):
            options.pop(name, None)
        if chunks.chunks:
            options["pnginfo"] = chunks
    elif form == "TIFF":
        try:
            options["exif"] = _tiff_tags(options.pop("exif", b""), options.pop("xmp", b""))
        except Exception:  # PIL raises many types for a damaged EXIF block
            lost.append("EXIF (the block is damaged)")
    return options, lost


def _common(name: str, value: Any) -> bool:
    return name == "dpi" and {round(float(side)) for side in value if side == side} <= _COMMON_DPI


def _text(info: Mapping[Any, Any]) -> dict[str, str]:
    """Return the text chunks of a PNG file, which PIL puts into `info` by keyword."""
    pairs = {key: value for key, value in info.items() if isinstance(value, str) and key not in _NOT_TEXT}
    return {key: value for key, value in pairs.items() if 0 < len(key) < 80 and not key.startswith("Raw profile")}


def _png_chunks(text: Mapping[str, str], options: Info) -> PngInfo:
    chunks = PngInfo()
    if options.get("gamma"):
        chunks.add(b"gAMA", struct.pack(">I", round(options["gamma"] * 100_000)))
    if len(options.get("chromaticity", ())) == 8:
        chunks.add(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in options["chromaticity"])))
    for key, value in text.items():
        if isinstance(value, iTXt):
            chunks.add_itxt(key, value, value.lang or "", value.tkey or "")
        else:
            chunks.add_text(key, value)
    if comment := options.get("comment"):
        chunks.add_text("Comment", comment.decode("utf-8", "replace"))
    if xmp := options.get("xmp"):
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    return chunks


def _tiff_tags(exif: bytes, xmp: bytes) -> Image.Exif:
    """Convert EXIF and XMP to the tags of a TIFF file, without those that PIL writes itself."""
    tags = Image.Exif()
    if exif:
        tags.load(exif)
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if group in tags:
                tags.get_ifd(group)
        for tag in _STRUCTURE & set(tags):
            del tags[tag]
    if xmp:
        tags[_XMP_TAG] = xmp
    return tags
