"""Files: where checkpoints lie, and how their small files are read and written safely."""

from .atomic import atomic_file, atomic_write_bytes, atomic_write_text
from .json_file import parse_json, read_json
from .locations import DirectoryLocation, Location, open_location, weight_files
from .paths import safe_join

__all__ = [
    "DirectoryLocation",
    "Location",
    "atomic_file",
    "atomic_write_bytes",
    "atomic_write_text",
    "open_location",
    "parse_json",
    "read_json",
    "safe_join",
    "weight_files",
]
