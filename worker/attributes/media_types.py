"""Media type names: of a file extension, in one spelling, and whether content of one type may be called by another."""

import mimetypes
import re

EMPTY = "inode/x-empty"
"""The type of a file of no bytes, as libmagic names it."""
UNKNOWN = "application/octet-stream"

_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
"""`type/subtype` after RFC 6838 section 4.2, lower case."""

_ALIASES = {
    "application/gzip-compressed": "application/gzip",
    "application/java": "application/java-vm",
    "application/javascript": "text/javascript",
    "application/ndjson": "application/x-ndjson",
    "application/jsonl": "application/x-ndjson",
    "application/vnd.sqlite3": "application/x-sqlite3",
    "application/x-gzip": "application/gzip",
    "application/x-javascript": "text/javascript",
    "application/x-pdf": "application/pdf",
    "application/x-rar-compressed": "application/vnd.rar",
    "application/x-zip": "application/zip",
    "application/x-zip-compressed": "application/zip",
    "application/x-zstd": "application/zstd",
    "audio/mp3": "audio/mpeg",
    "audio/vnd.wave": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-icon": "image/vnd.microsoft.icon",
    "image/x-ms-bmp": "image/bmp",
    "image/x-png": "image/png",
    "text/comma-separated-values": "text/csv",
    "text/json": "application/json",
    "text/rtf": "application/rtf",
    "text/x-csv": "text/csv",
    "text/xml": "application/xml",
    "video/avi": "video/x-msvideo",
}

# Names a client sends when it knows nothing: they declare nothing. (The form type is what curl -d sends.)
_SAYS_NOTHING = frozenset({UNKNOWN, "application/x-www-form-urlencoded", "application/binary", "application/unknown"})

# Extensions that the standard library lacks or names differently from one Python version to the next.
_EXTENSIONS = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".exe": "application/vnd.microsoft.portable-executable",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".heic": "image/heic",
    ".jp2": "image/jp2",
    ".js": "text/javascript",
    ".jsonl": "application/x-ndjson",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mkv": "video/matroska",
    ".mjs": "text/javascript",
    ".ndjson": "application/x-ndjson",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ogg": "audio/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rar": "application/vnd.rar",
    ".rtf": "application/rtf",
    ".sql": "application/sql",
    ".sqlite": "application/x-sqlite3",
    ".toml": "application/toml",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}
# An instance holds the tables inside the standard library only. What the machine's mime.types adds reaches the
# module's own functions (mimetypes.guess_type), which are not used here.
_STANDARD = mimetypes.MimeTypes()
_AMBIGUOUS_EXTENSIONS = frozenset({".ts", ".bin", ".dat"})  # TypeScript or MPEG video; anything at all
_PACKINGS = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}

# Types whose content always carries a signature that sniff.py knows: without it, it is not that type; and where it
# is found, the content is that and nothing else.
_SIGNED = frozenset(
    {
        "application/epub+zip",
        "application/gzip",
        "application/pdf",
        "application/vnd.apache.parquet",
        "application/vnd.rar",
        "application/wasm",
        "application/x-7z-compressed",
        "application/x-bzip2",
        "application/x-sqlite3",
        "application/x-xz",
        "application/zip",
        "application/zstd",
        "audio/flac",
        "audio/ogg",
        "audio/wav",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/jp2",
        "image/jpeg",
        "image/png",
        "image/tiff",
        "image/webp",
        "video/matroska",
        "video/webm",
        "video/x-msvideo",
    }
)
_SIGNED_PREFIXES = ("application/vnd.openxmlformats-", "application/vnd.oasis.opendocument.")
_EXECUTABLES = frozenset(
    {
        "application/vnd.microsoft.portable-executable",
        "application/x-dosexec",
        "application/x-executable",
        "application/x-mach-binary",
        "application/x-msdos-program",
        "application/x-msdownload",
        "application/x-object",
        "application/x-pie-executable",
        "application/x-sharedlib",
    }
)
# Wrappers that many formats with names of their own are made of: their presence contradicts no unknown claim.
_WRAPPERS = frozenset({"application/zip", "application/gzip", "application/x-ole-storage", "application/x-sqlite3"})

# Within a family one content honestly goes by several names.
_FAMILIES = (
    _EXECUTABLES,
    frozenset({"video/mp4", "audio/mp4", "audio/x-m4a", "video/x-m4v", "video/quicktime", "video/3gpp", "audio/3gpp"}),
    frozenset({"image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence", "image/avif"}),
    frozenset({"audio/ogg", "video/ogg", "application/ogg", "audio/opus", "audio/vorbis", "audio/x-opus+ogg"}),
    frozenset({"video/matroska", "video/x-matroska", "audio/x-matroska", "audio/matroska", "video/webm", "audio/webm"}),
    frozenset({"video/x-ms-wmv", "video/x-ms-asf", "audio/x-ms-wma", "application/vnd.ms-asf"}),
    frozenset({"application/pdf", "application/postscript", "application/illustrator"}),  # .ai files
    frozenset({"application/gzip", "image/svg+xml-compressed", "application/x-tar", "application/x-compressed-tar"}),
)
_TEXT_SUFFIXES = ("+json", "+xml", "+yaml", "json", "/xml", "javascript", "yaml", "-sh", "shellscript")
_TEXT_TYPES = frozenset(
    {"application/sql", "application/toml", "application/rtf", "application/postscript", "application/graphql",
     "application/x-tex", "application/x-python", "application/x-csh", "application/x-latex", "application/x-tcl"}
)  # fmt: skip
_DATA_TEXT = frozenset(
    {"text/csv", "text/tab-separated-values", "application/json", "application/x-ndjson", "text/calendar", "text/vcard"}
)
_SPREADSHEET = "application/vnd.ms-excel"


def normalise(media_type: str | None) -> str | None:
    """`Image/JPG; q=1` -> `image/jpeg`; None for no type, a malformed one, or one that says nothing."""
    if media_type is None:
        return None
    name = media_type[:256].partition(";")[0].strip().lower()
    name = _ALIASES.get(name, name)
    if not _TYPE.fullmatch(name) or name in _SAYS_NOTHING:
        return None
    return name


def is_textual(media_type: str) -> bool:
    """Whether files of this type are made of characters."""
    return media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(_TEXT_SUFFIXES)


def compatible_types(detected: str, claimed: str) -> bool:
    """Whether content sniffed as `detected` may honestly be called `claimed`.

    Doubt is answered with True: False says that the bytes contradict the claim. A claim that says nothing
    (application/octet-stream, a malformed name) is compatible with everything, and so is an empty file. Text formats
    are compatible with each other, except that an HTML page is not data: a saved error page is no CSV.
    """
    wanted = normalise(claimed)
    found = normalise(detected) or UNKNOWN
    if wanted is None or found in (EMPTY, wanted):
        return True
    if any(found in family and wanted in family for family in _FAMILIES):
        return True
    if found == UNKNOWN:
        return not (_is_signed(wanted) or is_textual(wanted))
    if is_textual(found):
        return _text_may_be(found, wanted)
    return _binary_may_be(found, wanted)


def _text_may_be(found: str, wanted: str) -> bool:
    if found == "text/html" and wanted in _DATA_TEXT:
        return False
    if is_textual(wanted) or wanted == _SPREADSHEET:  # browsers on Windows declare CSV files as Excel
        return True
    return not _is_signed(wanted) and not wanted.startswith(("image/", "audio/", "video/", "font/"))


def _binary_may_be(found: str, wanted: str) -> bool:
    if found == "application/gzip" and wanted == "image/svg+xml":  # .svgz
        return True
    if is_textual(wanted):
        return False
    if _is_signed(wanted):
        return found == "application/zip" and _is_zip_based(wanted)
    if found in _EXECUTABLES:
        return False
    if found in _WRAPPERS:
        return not wanted.startswith(("image/", "audio/", "video/"))
    kinds = found.partition("/")[0], wanted.partition("/")[0]
    if kinds[0] != kinds[1]:
        return False
    return kinds[0] != "application" or not _is_signed(found)


def _is_signed(media_type: str) -> bool:
    return media_type in _SIGNED or media_type.startswith(_SIGNED_PREFIXES)


def _is_zip_based(media_type: str) -> bool:
    return media_type.startswith(_SIGNED_PREFIXES) or media_type.endswith("+zip")


def extension_type(filename: str) -> str | None:
    """The type that the extension claims, or None. A packed file (`a.tar.gz`) has the type of its packing.

    The same on every machine: the tables are those inside the standard library and the ones above.
    """
    stem, dot, last = filename[-64:].rpartition(".")
    if not dot or not stem:  # no extension, or a dot file
        return None
    extension = f".{last.lower()}"
    extension = "." + _STANDARD.suffix_map.get(extension, extension).rpartition(".")[2]
    if extension in _AMBIGUOUS_EXTENSIONS:
        return None
    packing = _STANDARD.encodings_map.get(extension)
    if packing is not None:
        return _PACKINGS.get(packing)
    return normalise(_EXTENSIONS.get(extension) or _STANDARD.types_map[True].get(extension))
