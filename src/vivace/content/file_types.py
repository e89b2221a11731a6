"""From a file's name to its media type. Pure.

The table is vivace's own: that of `mimetypes` reads the machine's /etc/mime.types, so that the same file would be
answered differently in two places. Names are those of the IANA registry (https://www.iana.org/assignments/media-types).
What is not in the table is `application/octet-stream`, which browsers download: with `nosniff` nothing is guessed.
"""

from __future__ import annotations

UNKNOWN = "application/octet-stream"

# RFC 9239: text/javascript is the name, and application/javascript an old one. Text is UTF-8 here, and says so.
_TEXT = {
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html htm",
    "text/javascript": "js mjs",
    "text/markdown": "md markdown",
    "text/plain": "txt text log conf ini asc",
    "text/tab-separated-values": "tsv",
    "text/vcard": "vcf vcard",
    "text/vtt": "vtt",
}
# Their text is found out from themselves (JSON is UTF-8 by RFC 8259, XML tells in its first line), or they are none.
_SQUEEZABLE = {
    "application/atom+xml": "atom",
    "application/geo+json": "geojson",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/rss+xml": "rss",
    "application/rtf": "rtf",
    "application/toml": "toml",
    "application/vnd.ms-fontobject": "eot",
    "application/wasm": "wasm",
    "application/xhtml+xml": "xhtml",
    "application/xml": "xml xsl xsd",
    "application/xslt+xml": "xslt",
    "application/yaml": "yaml yml",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "image/bmp": "bmp",
    "image/svg+xml": "svg",
    "image/vnd.microsoft.icon": "ico",
    "model/gltf+json": "gltf",
}
_DENSE = {
    "application/epub+zip": "epub",
    "application/gzip": "gz tgz",
    "application/java-archive": "jar",
    "application/msword": "doc",
    "application/ogg": "ogx",
    "application/pdf": "pdf",
    "application/vnd.android.package-archive": "apk",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.rar": "rar",
    "application/vnd.sqlite3": "sqlite sqlite3",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-tar": "tar",
    "application/x-xz": "xz",
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/midi": "mid midi",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg oga opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "font/collection": "ttc",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg jpeg jpe",
    "image/jxl": "jxl",
    "image/png": "png",
    "image/tiff": "tif tiff",
    "image/webp": "webp",
    "model/gltf-binary": "glb",
    "video/mp2t": "ts",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpeg mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
}

_types: dict[str, tuple[str, bool]] = {}
for _names, _suffix, _squeezes in ((_TEXT, "; charset=utf-8", True), (_SQUEEZABLE, "", True), (_DENSE, "", False)):
    for _type, _extensions in _names.items():
        for _extension in _extensions.split():
            _types[_extension] = (_type + _suffix, _squeezes)


def type_of(name: str) -> tuple[str, bool]:
    """(Content-Type, whether compressing it pays) of a file's name. What is not known may be text."""
    _, dot, extension = name.rpartition(".")
    return _types.get(extension.lower(), (UNKNOWN, True)) if dot else (UNKNOWN, True)
