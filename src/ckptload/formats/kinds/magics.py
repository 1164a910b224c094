"""Kinds of file that begin with a fixed sequence of bytes.

The sequences come from the documentation of each format. They are compared only with bytes that do not begin with a
record of a .ckpt, so none of them needs to be long.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ckptload.formats.kinds.kind import DOWNLOAD, EXPORTED, KERAS, NO_MODEL, Kind

if TYPE_CHECKING:
    from ckptload.formats.kinds.kind import Glimpse

_UNPACK: Final = "unpack it first, with {}; then open the checkpoint in it"


def _packed(what: str, program: str) -> Kind:
    return Kind(what, _UNPACK.format(program))


def _other(what: str) -> Kind:
    return Kind(what, NO_MODEL)


ZSTD: Final = _packed("a zstd file", "zstd -d (if it is a .tar.zst, tar -xf)")
LZ4: Final = _packed("an LZ4 file", "lz4 -d")
_GGML: Final = Kind("a GGML model", "open it with llama.cpp; it holds quantized weights of another program")
_TIFF: Final = _other("a TIFF picture")
_MACHO: Final = _other("a program or library for macOS (Mach-O)")
_MEDIA: Final = "an audio or video file"

#: The first bytes of each kind; longer ones before shorter ones that they begin with.
_STARTS: Final[tuple[tuple[bytes, Kind], ...]] = (
    # Archives
    (b"7z\xbc\xaf\x27\x1c", _packed("a 7z archive", "7z x")),
    (b"Rar!\x1a\x07", _packed("a RAR archive", "unrar x")),
    (b"\xfd7zXZ\0", _packed("an xz file", "xz -d (if it is a .tar.xz, tar -xf)")),
    (b"BZh", _packed("a bzip2 file", "bunzip2 (if it is a .tar.bz2, tar -xf)")),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\x04\x22\x4d\x18", LZ4),
    (b"\x02\x21\x4c\x18", LZ4),
    (b"\xff\x06\0\0sNaPpY", _packed("a Snappy file", "snzip -d")),
    (b"LZIP", _packed("an lzip file", "lzip -d")),
    (b"\x89LZO\0\r\n\x1a\n", _packed("an lzop file", "lzop -d")),
    (b"\x1f\x9d", _packed("a file of Unix compress", "gunzip")),
    (b"MSCF\0\0\0\0", _packed("a Windows cabinet (.cab)", "cabextract")),
    (b"!<arch>\n", _packed("a Unix archive (.a or .deb)", "ar x")),
    # Models and arrays of other programs
    (b"\x93NUMPY", Kind("a numpy .npy file", "open it with numpy.load, and save its arrays with save_checkpoint()")),
    (b"GGUF", Kind("a GGUF model", "open it with the gguf package")),
    *((magic, _GGML) for magic in (b"lmgg", b"fmgg", b"tjgg", b"algg")),
    (b"IMOD", Kind("an offline model for Ascend (.om)", EXPORTED)),
    (b"\x12\x01" + bytes(14), Kind("an MXNet .params file", "open it with mxnet.nd.load")),
    # Tables and data sets
    (b"SQLite format 3\0", _other("an SQLite database, such as the .db beside a MindRecord file")),
    (b"PAR1", _other("a Parquet table")),
    (b"ARROW1\0\0", _other("an Arrow or Feather table")),
    (b"FEA1", _other("a Feather table")),
    (b"ORC", _other("an ORC table")),
    (b"Obj\x01", _other("an Avro file")),
    (b"CDF\x01", _other("a NetCDF file")),
    (b"CDF\x02", _other("a NetCDF file")),
    (b"MATLAB 5.0 MAT-file", Kind("a MATLAB .mat file", "open it with scipy.io.loadmat")),
    # Documents, pictures, sound
    (b"%PDF-", _other("a PDF document")),
    (b"{\\rtf", _other("an RTF document")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _other("an old Office document")),
    (b"\x89PNG\r\n\x1a\n", _other("a PNG picture")),
    (b"\xff\xd8\xff", _other("a JPEG picture")),
    (b"GIF87a", _other("a GIF picture")),
    (b"GIF89a", _other("a GIF picture")),
    *((magic, _TIFF) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (b"OggS", _other(_MEDIA)),
    (b"ID3", _other(_MEDIA)),
    (b"fLaC", _other(_MEDIA)),
    # Programs
    (b"\x7fELF", _other("a program or library for Linux (ELF)")),
    *(
        (magic, _MACHO)
        for magic in (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
    ),
    (b"\0asm", _other("a WebAssembly program")),
    # What copying and downloading leave
    (
        b"\0\x05\x16\x07",
        Kind("a file of attributes that macOS wrote beside the real one", "open the file whose name lacks the ._"),
    ),
)

#: The identifier of a FlatBuffers file, which follows the four bytes of an offset.
_FLATBUFFERS: Final[tuple[tuple[re.Pattern[bytes], Kind], ...]] = (
    (re.compile(rb"TFL\d"), Kind("a TensorFlow Lite model (TFLite)", EXPORTED)),
    (re.compile(rb"MSL\d"), Kind("a MindSpore Lite model (.ms)", EXPORTED)),
    (re.compile(rb"ORTM"), Kind("a model of ONNX Runtime (.ort)", EXPORTED)),
    (re.compile(rb"ET\d\d"), Kind("a program of ExecuTorch (.pte)", EXPORTED)),
)

_RIFF: Final = {b"WEBP": "a WebP picture", b"WAVE": _MEDIA, b"AVI ": _MEDIA}
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
#: Names of attributes and groups that Keras writes.
_KERAS: Final = re.compile(rb"keras|layer_names|model_weights")
#: The UTF-8 of U+FFFD, with which a decoder replaces bytes that are not valid UTF-8.
_REPLACEMENT: Final = "\ufffd".encode()
_MANY: Final = 3


def by_magic(seen: Glimpse) -> Kind | None:
    """Return the kind whose fixed bytes these are, or None."""
    head = seen.head
    for magic, kind in _STARTS:
        if head.startswith(magic):
            return kind
    # Frames that decoders of zstd and LZ4 skip; those of other programs are rare.
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:  # noqa: PLR2004 -- RFC 8878, 3.1.2
        return LZ4 if b"\x04\x22\x4d\x18" in head else ZSTD
    if int.from_bytes(head[:4], "little") < seen.size:
        for identifier, kind in _FLATBUFFERS:
            if identifier.match(head, 4):
                return kind
    return _by_structure(seen)


def _by_structure(seen: Glimpse) -> Kind | None:
    """Return a kind that begins with few fixed bytes and numbers that must agree with them."""
    head, size = seen.head, seen.size
    if head.startswith(_HDF5):
        if _KERAS.search(head):
            return Kind("an HDF5 file of Keras (.h5)", KERAS)
        return Kind("an HDF5 file", "open it with h5py, and save its arrays with save_checkpoint()")
    if head.startswith(b"MZ"):
        at = int.from_bytes(head[60:64], "little")
        return _other("a program or library for Windows") if head[at : at + 4] == b"PE\0\0" else None
    if head.startswith(b"\xca\xfe\xba\xbe"):
        # A count of architectures, or a version of Java, which begins at 45.
        return _MACHO if int.from_bytes(head[4:8], "big") < 45 else _other("a Java class")  # noqa: PLR2004
    if head.startswith(b"BM") and int.from_bytes(head[2:6], "little") == size and head[6:10] == bytes(4):
        return _other("a BMP picture")
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _other(_RIFF[head[8:12]])
    if head[4:8] == b"ftyp":
        return _other(_MEDIA)
    if head.count(_REPLACEMENT) >= _MANY and re.search(rb"[\0-\x08\x0e-\x1f]", head):
        return Kind("a binary file that was destroyed by reading it as text and writing it again", DOWNLOAD)
    return None
