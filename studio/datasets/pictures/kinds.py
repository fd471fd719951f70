"""What a file is that is no picture to read here, by the ending of its name and by its first bytes, and the way out."""

from __future__ import annotations

import re

from studio.messages import Message

SUFFIXES = {Message("HEIC"): "heic heif hif", Message("JPEG XL"): "jxl",
            Message("JPEG 2000"): "jp2 j2k jpf jpx jpm j2c", Message("SVG"): "svg svgz",
            Message("raw camera"): "cr2 cr3 crw nef nrw arw srf sr2 dng raf orf rw2 pef srw 3fr iiq x3f",
            Message("Photoshop"): "psd psb", Message("GIMP"): "xcf", Message("Krita"): "kra ora",
            Message("Clip Studio"): "clip", Message("Procreate"): "procreate", Message("Affinity"): "afphoto afdesign",
            Message("Illustrator"): "ai", Message("PostScript"): "eps ps", Message("PDF"): "pdf",
            Message("icon"): "ico icns cur", Message("Targa"): "tga", Message("film or game"): "exr hdr dds",
            Message("bitmap of another kind"): "ppm pgm pbm pnm pcx qoi wmf emf fits jxr wdp bpg flif",
            Message("video"): "mp4 mov avi mkv webm m4v mpg mpeg wmv",
            Message("audio"): "mp3 wav flac ogg m4a aac opus",
            Message("document"): "doc docx odt rtf md html htm epub pages",
            Message("spreadsheet"): "xlsx xls ods numbers", Message("archive"): "tar gz tgz rar 7z bz2 xz zst",
            Message("data"): "json parquet yaml yml toml xml csv npz npy pkl db sqlite lmdb",
            Message("model"): "safetensors ckpt pt pth bin onnx gguf", Message("shortcut"): "lnk url webloc"}
ADVICE = {"HEIC": Message("convert it to JPEG first"), "JPEG XL": Message("convert it to PNG first"),
          "JPEG 2000": Message("convert it to PNG first"), "SVG": Message("save it as PNG first"),
          Message("raw camera"): Message("develop it to JPEG first"), "Photoshop": Message("export it as PNG first"),
          "GIMP": Message("export it as PNG first"), "Krita": Message("export it as PNG first"),
          Message("Clip Studio"): Message("export it as PNG first"), "Procreate": Message("export it as PNG first"),
          "Affinity": Message("export it as PNG first"), "Illustrator": Message("export it as PNG first"),
          "PostScript": Message("export it as PNG first"), "PDF": Message("save its pages as PNG first"),
          "icon": Message("save it as PNG first"), "Targa": Message("convert it to PNG first"),
          Message("film or game"): Message("convert it to PNG first"),
          Message("bitmap of another kind"): Message("convert it to PNG first"),
          "video": Message("save frames of it as pictures"), "spreadsheet": Message("save it as CSV"),
          "archive": Message("unpack it, or make a zip"),
          Message("Git LFS pointer"): Message("fetch the files themselves by `git lfs pull`"),
          "data": Message("captions are read from .txt and .json files, CSV, JSON lines and parquet")}
OF_SUFFIX: dict[str, str] = {}
for _kind, _suffixes in SUFFIXES.items():
    OF_SUFFIX |= dict.fromkeys([f".{suffix}" for suffix in _suffixes.split()], _kind)
NEVER = ("video", "audio", "archive", "data", "model", "spreadsheet", "shortcut")  # not worth reading as a picture
_NAMES = {kind: kind for kind in (*ADVICE, *SUFFIXES)}  # as Messages
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
    for kind, pattern in _OF_BEGINNING:
        if pattern.match(head):
            return kind
    return ""


def reason(kind: str) -> str:
    """Why a file of a kind is left out that is not even read."""
    if kind in ADVICE:
        return Message("not a picture ({kind} file): {advice}", kind=_NAMES[kind], advice=ADVICE[kind])
    return Message("not a picture ({kind} file)", kind=_NAMES.get(kind, kind))


def with_advice(problem: str, kind: str) -> str:
    """A problem of a picture with what to do about files of its kind."""
    if kind not in ADVICE:
        return problem
    return Message("{problem} ({kind}: {advice})", problem=problem, kind=_NAMES[kind], advice=ADVICE[kind])
