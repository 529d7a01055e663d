"""Where kernels of CUDA text run: a GPU through the driver, or this machine's processor, with the same few verbs.

The driver and NVRTC are called through ctypes: nothing is imported, and JAX need not be built for GPUs. A GPU's primary context
is used, the one that JAX uses too.
"""

import ctypes
import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from thrombojax.codegen import build, nvrtc
from thrombojax.codegen.emit_cuda import BLOCK
from thrombojax.errors import RunError

Pointer = int


class Place(Protocol):
    """One of them serves one thread at a time."""

    host: bool

    def load(self, text: str) -> Any:
        """The kernels of a text."""

    def memory(self) -> Any:
        """A context in which arrays live; `put`, `room`, `scratch` and `back` are its verbs."""

    def most(self) -> int:
        """Bytes that a launch may take."""

    def call(self, made: Any, name: str, job: ctypes.Structure, threads: int) -> None:
        """Run a kernel, after those before it; `back` waits for them all."""


class HostMemory:
    """Arrays where they are."""

    def __init__(self) -> None:
        self.held: list[np.ndarray] = []

    def put(self, array: np.ndarray) -> Pointer:
        """The address of a copy, or of the array itself."""
        self.held.append(array)
        return int(array.ctypes.data)

    room = put

    def scratch(self, size: int) -> Pointer:
        """The address of so many bytes, for kernels alone."""
        return self.put(np.empty(size, np.uint8))

    def back(self, address: Pointer, array: np.ndarray) -> None:
        """Nothing: `array` is what lies there."""


class Host:
    """This machine's processor, for tests: the text as C, on every core."""

    host = True

    def load(self, text: str) -> Any:
        return build.load(text)

    @contextmanager
    def memory(self) -> Iterator[HostMemory]:
        yield HostMemory()

    def most(self) -> int:
        return 1 << 30

    def call(self, made: Any, name: str, job: ctypes.Structure, threads: int) -> None:
        cores = os.cpu_count() or 1
        edges = [ctypes.c_int64(threads * k // cores) for k in range(cores + 1)]
        function, given = getattr(made, f"{name}_host"), ctypes.byref(job)
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(lambda k: function(given, edges[k], edges[k + 1]), range(cores)))


class NoGpu(RunError):
    """There is no GPU, driver or NVRTC that works here; another backend runs instead."""


OUT_OF_MEMORY = 2
_MISMATCH = {200, 209, 218, 222, 300, 803, 804}
"""The driver does not take the instructions: not for this GPU, or of a version it does not know."""
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_..."""


class Driver:
    """libcuda; version: 13000 for CUDA 13.0."""

    def __init__(self, name: str = "libcuda.so.1"):
        try:
            self.library = ctypes.CDLL(name)
        except OSError:
            raise NoGpu(f"there is no NVIDIA driver ({name})") from None
        try:
            self("cuInit", 0)
        except RunError as error:
            raise NoGpu(f"the NVIDIA driver finds no GPU: {error}") from None
        version = ctypes.c_int()
        self("cuDriverGetVersion", ctypes.byref(version))
        self.version = version.value

    def __call__(self, name: str, *args: Any) -> None:
        """Raises MemoryError where the GPU has none left, RunError for the rest."""
        code = getattr(self.library, name)(*args)
        if code == OUT_OF_MEMORY:
            raise MemoryError(name)
        if code:
            said = f"{name}: {self._word('cuGetErrorName', code)} ({self._word('cuGetErrorString', code)})"
            if code in _MISMATCH:
                said += f"; driver of CUDA {self.version // 1000}.{self.version % 1000 // 10}"
            raise RunError(said)

    def _word(self, name: str, code: int) -> str:
        text = ctypes.c_char_p()
        failed = getattr(self.library, name)(code, ctypes.byref(text))
        return text.value.decode() if not failed and text.value else str(code)

    def count(self) -> int:
        n = ctypes.c_int()
        self("cuDeviceGetCount", ctypes.byref(n))
        return n.value


class GpuMemory:
    """Arrays on a GPU."""

    def __init__(self, driver: Driver):
        self.driver = driver
        self.held: list[Pointer] = []

    def room(self, array: np.ndarray) -> Pointer:
        """The address of as many bytes as the array has."""
        return self.scratch(array.nbytes)

    def scratch(self, size: int) -> Pointer:
        """The address of so many bytes, for kernels alone."""
        address = ctypes.c_uint64()
        self.driver("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        self.held.append(address.value)
        return address.value

    def put(self, array: np.ndarray) -> Pointer:
        """The address of a copy."""
        address = self.room(array)
        source, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        if array.nbytes:
            self.driver("cuMemcpyHtoD_v2", ctypes.c_uint64(address), source, size)
        return address

    def back(self, address: Pointer, array: np.ndarray) -> None:
        """Copy what lies there into `array`, once all kernels before are done."""
        target, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        if array.nbytes:
            self.driver("cuMemcpyDtoH_v2", target, ctypes.c_uint64(address), size)

    def free(self) -> None:
        for address in self.held:
            self.driver("cuMemFree_v2", ctypes.c_uint64(address))


class Gpu:
    """One GPU by its number; target: compute capability, 90 for 9.0."""

    host = False

    def __init__(self, driver: Driver, number: int):
        self.driver, self.number = driver, number
        self.device = ctypes.c_int()
        driver("cuDeviceGet", ctypes.byref(self.device), number)
        self.target = 10 * self._attribute(_MAJOR) + self._attribute(_MINOR)
        self.context = ctypes.c_void_p()
        driver("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), self.device)
        self.made: dict[str, Any] = {}

    def __str__(self) -> str:
        name = ctypes.create_string_buffer(100)
        self.driver("cuDeviceGetName", name, 100, self.device)
        return f"GPU {self.number} ({name.value.decode()})"

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self.driver("cuDeviceGetAttribute", ctypes.byref(value), which, self.device)
        return value.value

    def load(self, text: str) -> Any:
        """The module."""
        if text not in self.made:
            self.driver("cuCtxSetCurrent", self.context)
            cubin = nvrtc.load(nvrtc.find(self.driver.version // 1000), text, self.target)
            module = ctypes.c_void_p()
            self.driver("cuModuleLoadData", ctypes.byref(module), cubin)
            self.made[text] = module
        return self.made[text]

    def function(self, made: Any, name: str) -> ctypes.c_void_p:
        """A kernel of a module."""
        function = ctypes.c_void_p()
        self.driver("cuModuleGetFunction", ctypes.byref(function), made, name.encode())
        return function

    @contextmanager
    def memory(self) -> Iterator[GpuMemory]:
        self.driver("cuCtxSetCurrent", self.context)
        memory = GpuMemory(self.driver)
        try:
            yield memory
        finally:
            memory.free()

    def most(self) -> int:
        """Half of what is free: kernels need some for registers that spill, and others may come."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.driver("cuCtxSetCurrent", self.context)
        self.driver("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value // 2

    def call(self, made: Any, name: str, job: ctypes.Structure, threads: int) -> None:
        function = self.function(made, name)
        given = (ctypes.c_void_p * 1)(ctypes.addressof(job))
        block = min(threads, BLOCK)
        self.driver("cuLaunchKernel", function, -(-threads // block), 1, 1, block, 1, 1, 0, None, given, None)


@functools.lru_cache(maxsize=1)
def gpus() -> tuple[Gpu, ...]:
    """Every GPU that the driver shows (CUDA_VISIBLE_DEVICES chooses). Raises NoGpu."""
    driver = Driver()
    found = tuple(Gpu(driver, k) for k in range(driver.count()))
    if not found:
        raise NoGpu("the NVIDIA driver shows no GPU")
    return found


@functools.lru_cache(maxsize=1)
def missing() -> str | None:
    """Why nothing can run on a GPU here, or None. Holds no memory of any GPU."""
    try:
        driver = Driver()
        if not driver.count():
            return "the NVIDIA driver shows no GPU"
        nvrtc.find(driver.version // 1000)
    except (RunError, MemoryError, AttributeError) as error:
        return str(error)
    return None
