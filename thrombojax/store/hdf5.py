"""Writing one HDF5 file: safely on a disk that fills, with a scale on every axis of every variable."""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import RunError
from .layout import PATIENT, Axis, Layout, Variable

FORMAT = 1
CONVENTIONS = "CF-1.11"
ZSTD = 32015  # the registered number of the zstd filter
TEXT = h5py.string_dtype("utf-8")
SCALE_CHUNK = 65536


class Sink:
    """The file object through which HDF5 writes. It remembers the first failure instead of passing it on.

    A write that fails inside HDF5 leaves a file that cannot be closed and takes the process down with a segmentation
    fault (h5py issues 914 and 1120; measured with h5py 3.16). Here HDF5 sees every write succeed, and `check` raises.
    """

    def __init__(self, path: Path):
        self.error: OSError | None = None
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._at = 0
        self._size = 0

    def check(self) -> None:
        """Raises the first failure, if there was one."""
        if self.error is not None:
            raise self.error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        view, done = memoryview(data).cast("B"), 0
        while self.error is None and done < len(view):
            try:
                done += os.pwrite(self._fd, view[done:], self._at + done)
            except OSError as error:
                self.error = error
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._fd, len(view), self._at)
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))
        self._at += len(view)
        return len(view)

    def read(self, size: int) -> bytes:
        buffer = bytearray(size)
        self.readinto(buffer)
        return bytes(buffer)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self._fd, self._size)
            except OSError as error:
                self.error = error
        return self._size

    def flush(self) -> None:
        pass

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def new_file(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """A new HDF5 file and a function that raises OSError as soon as a write has failed.

    Synced when the block ends; removed if it ends with an exception. The caller renames it into place.
    """
    sink = Sink(path)
    try:
        try:
            # track_order: variables are listed as the layout has them. Default libver: it survives being killed best.
            with h5py.File(sink, "w", track_order=True) as file:
                yield file, sink.check
            sink.check()
            sink.sync()
        finally:
            sink.close()
    except BaseException:
        path.unlink(missing_ok=True)
        sink.check()  # what HDF5 says after a failed write is only its consequence
        raise


def rename(temporary: Path, final: Path) -> None:
    """Moves a synced file into place and syncs the folder, so that the name survives a power cut."""
    os.replace(temporary, final)
    sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lay_out(
    file: h5py.File,
    layout: Layout,
    start: int,
    stop: int,
    make: Callable[[h5py.Group, Variable, tuple[int, ...]], h5py.Dataset],
) -> None:
    """Writes scales, variables and attributes for patients [start, stop); `make` creates each variable's dataset.

    A group gets its own copy of the scales it uses: with the root's, `open_dataset(group=...)` has no coordinates.
    """
    file.attrs["Conventions"] = CONVENTIONS
    file.attrs["thrombojax_format"] = FORMAT
    if any(variable.compression == "zstd" for variable in layout.variables):
        file.attrs["thrombojax_filters"] = "zstd"  # which a reader must load, even where only shards use it
    write_attrs(file, layout.attrs)
    for group in layout.groups:
        parent = file.create_group(group, track_order=True) if group else file
        variables = [v for v in layout.variables if v.group == group]
        used = {dim for v in variables for dim in v.dims}
        scales = {
            axis.name: _write_scale(parent, axis, slice(start, stop) if axis.name == PATIENT else slice(None))
            for axis in layout.axes
            if not group or axis.name in used
        }
        for variable in variables:
            dataset = make(parent, variable, layout.shape(variable, stop - start))
            for index, dim in enumerate(variable.dims):
                dataset.dims[index].attach_scale(scales[dim])
            described = {"units": variable.unit, "long_name": variable.long_name, "role": variable.role}
            write_attrs(dataset, {**{k: v for k, v in described.items() if v}, **variable.attrs})
            if np.dtype(variable.dtype).kind == "f":
                dataset.attrs["_FillValue"] = np.array([np.nan], variable.dtype)


def _write_scale(parent: h5py.Group, axis: Axis, part: slice) -> h5py.Dataset:
    values = axis.values[part]
    if axis.is_text:
        scale = parent.create_dataset(axis.name, data=values, dtype=TEXT)
    else:
        chunk = (min(len(values), SCALE_CHUNK),)
        scale = parent.create_dataset(axis.name, data=values, chunks=chunk, shuffle=True, fletcher32=True, **GZIP)
    scale.make_scale(axis.name)
    described = {"units": axis.unit, "long_name": axis.long_name}
    write_attrs(scale, {k: v for k, v in described.items() if v})
    return scale


GZIP = {"compression": "gzip", "compression_opts": 1}


def filters(variable: Variable) -> dict[str, Any]:
    """`create_dataset` arguments for a variable's filter pipeline. Raises RunError for zstd without hdf5plugin."""
    if variable.compression == "gzip":
        return {**GZIP, "shuffle": True, "fletcher32": True}
    if variable.compression == "zstd":
        need_zstd()
        return {"compression": ZSTD, "compression_opts": (3,), "shuffle": True, "fletcher32": True}
    return {"fletcher32": True}


def need_zstd() -> None:
    """Makes the zstd filter known to HDF5. Raises RunError without hdf5plugin."""
    if h5py.h5z.filter_avail(ZSTD):
        return
    try:
        importlib.import_module("hdf5plugin")  # importing it registers the filters
    except ImportError:
        raise RunError("zstd compression needs hdf5plugin: pip install 'thrombojax[zstd]'") from None


def fill_value(variable: Variable) -> float | int:
    """What stands where nothing was written: NaN, and for a status a code that is never 'ok'."""
    if np.dtype(variable.dtype).kind == "f":
        return np.nan
    return int(np.iinfo(variable.dtype).max) if variable.role == "status" else 0


def write_attrs(target: Any, attrs: Mapping[str, Any]) -> None:
    """Writes attributes; text is variable-length UTF-8 and may be long, None is left out."""
    for name, value in attrs.items():
        if value is None:
            continue
        if isinstance(value, bool):
            value = int(value)
        elif isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value):
            value = np.array(value, dtype=TEXT)
        target.attrs[name] = value
