"""What a file is that is no picture to read here, by the ending of its name and by its first bytes, and the way out."""

from __future__ import annotations

import re

SUFFIXES = {
    "HEIC": "heic heif hif", "JPEG XL": "jxl", "JPEG 2000": "jp2 j2k jpf jpx jpm j2c", "SVG": "svg svgz",
    "raw camera": "cr2 cr3 crw nef nrw arw srf sr2 dng raf orf rw2 pef srw 3fr iiq x3f", "Photoshop": "psd psb",
    "GIMP": "xcf", "Krita": "kra ora", "Clip Studio": "clip", "Procreate": "procreate", "Affinity": "afphoto afdesign",
    "Illustrator": "ai", "PostScript": "eps ps", "PDF": "pdf", "icon": "ico icns cur", "Targa": "tga",
    "film or game": "exr hdr dds", "bitmap of another kind": "ppm pgm pbm pnm pcx qoi wmf emf fits jxr wdp bpg flif",
    "video": "mp4 mov avi mkv webm m4v mpg mpeg wmv", "audio": "mp3 wav flac ogg m4a aac opus",
    "document": "doc docx odt rtf md html htm epub pages", "spreadsheet": "xlsx xls ods numbers",
    "archive": "tar gz tgz rar 7z bz2 xz zst", "data": "json parquet yaml yml toml xml csv npz npy pkl db sqlite lmdb",
    "model": "safetensors ckpt pt pth bin onnx gguf", "shortcut": "lnk url webloc"}
ADVICE = {
    "HEIC": "convert it to JPEG first", "JPEG XL": "convert it to PNG first", "JPEG 2000": "convert it to PNG first",
    "SVG": "save it as PNG first", "raw camera": "develop it to JPEG first", "Photoshop": "export it as PNG first",
    "GIMP": "export it as PNG first", "Krita": "export it as PNG first", "Clip Studio": "export it as PNG first",
    "Procreate": "export it as PNG first", "Affinity": "export it as PNG first",
    "Illustrator": "export it as PNG first", "PostScript": "export it as PNG first",
    "PDF": "save its pages as PNG first", "icon": "save it as PNG first", "Targa": "convert it to PNG first",
    "film or game": "convert it to PNG first", "bitmap of another kind": "convert it to PNG first",
    "video": "save frames of it as pictures", "spreadsheet": "save it as CSV", "archive": "unpack it, or make a zip",
    "Git LFS pointer": "fetch the files themselves by `git lfs pull`",
    "data": "captions are read from .txt and .json files, CSV, JSON lines and parquet"}
OF_SUFFIX = {f".{suffix}": kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes.split()}
NEVER = ("video", "audio", "archive", "data", "model", "spreadsheet", "shortcut")  # not worth reading as a picture
READ = "JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC"
_BEGINNINGS: tuple[tuple[str, bytes], ...] = (
    ("JPEG XL", rb"\xff\x0a|\x00\x00\x00\x0cJXL "), ("JPEG 2000", rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
    ("Git LFS pointer", rb"version https://git-lfs"),
    ("Photoshop", rb"8BPS"), ("GIMP", rb"gimp xcf"), ("Clip Studio", rb"CSFCHUNK"), ("PDF", rb"%PDF"),
    ("PostScript", rb"%!PS|\xc5\xd0\xd3\xc6"), ("icon", rb"\x00\x00[\x01\x02]\x00|icns"),
    ("film or game", rb"DDS |\x76\x2f\x31\x01|#\?RADI"),
    ("SVG", rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg[\s>]"),
    ("bitmap of another kind", rb"P[1-6]\s|qoif|\xd7\xcd\xc6\x9a|SIMPLE  =|BPG\xfb|FLIF|II\xbc"),
    ("Krita", rb"PK\x03\x04.{26}mimetype(application/x-krita|image/openraster)"),
    ("archive", rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b"),
    ("HEIC", rb".{4}ftyp(heic|heix|heim|heis|hevc|mif1|msf1)"),
    ("raw camera", rb".{4}ftypcrx |FUJIFILMCCD-RAW|IIRO|IIU\x00"),
    ("video", rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |\x00\x00\x01\xba"), ("audio", rb"ID3|OggS|fLaC|RIFF.{4}WAVE"),
    ("document", rb"\s*<(!DOCTYPE html|html|head|body)|\{\\rtf|\xd0\xcf\x11\xe0"))
_OF_BEGINNING = [(kind, re.compile(pattern, re.DOTALL | re.IGNORECASE)) for kind, pattern in _BEGINNINGS]
HEAD = 512  # bytes that are enough to tell


def of_content(head: bytes) -> str:
    """What a file's first bytes (HEAD of them) say it is; "" for what they do not tell."""
    return next((kind for kind, pattern in _OF_BEGINNING if pattern.match(head)), "")


def reason(kind: str) -> str:
    """Why a file of a kind is left out that is not even read."""
    return f"not a picture ({kind} file)" + (f": {ADVICE[kind]}" if kind in ADVICE else "")


def with_advice(problem: str, kind: str) -> str:
    """A problem of a picture with what to do about files of its kind."""
    return f"{problem} ({kind}: {ADVICE[kind]})" if kind in ADVICE else problem
