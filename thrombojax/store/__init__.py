"""The results file: its layout, its shards and manifest, consolidation, and reading it back."""

from .check import Report, verify
from .consolidate import VIRTUAL_ABOVE, Consolidated, annotate, consolidate
from .layout import Axis, Layout, Variable, flags
from .results import open, provenance
from .shards import Header, Manifest, Shard, parts_folder, read_manifest
from .table import export

__all__ = [
    "VIRTUAL_ABOVE",
    "Axis",
    "Consolidated",
    "Header",
    "Layout",
    "Manifest",
    "Report",
    "Shard",
    "Variable",
    "annotate",
    "consolidate",
    "export",
    "flags",
    "open",
    "parts_folder",
    "provenance",
    "read_manifest",
    "verify",
]
