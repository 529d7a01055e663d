"""A driver whose GPUs are this processor."""

import ctypes
import dataclasses
import subprocess
from pathlib import Path

import pytest

from thrombojax.codegen import build, emit_cuda, nvrtc
from thrombojax.solve import chunks, places

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    made = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    command = [*build.compiler(), "-shared", "-fPIC", "-w", "-o", made, HERE / "fake_driver.c", "-ldl", "-lpthread"]
    subprocess.run([str(word) for word in command], check=True)
    return str(made)


@pytest.fixture
def fake(library, monkeypatch):
    """Two GPUs of the fake driver, and its switches; a text for GPUs becomes C by nothing but its first lines."""
    switches = ctypes.CDLL(library)

    def load(nvrtc, text, target):
        assert target == 90
        device, host = (emit_cuda._text(name) for name in ("device.h", "scalar.h"))
        assert device in text
        return build.load(text.replace(device, host))._name.encode()

    monkeypatch.setattr(nvrtc, "find", lambda major: None)
    monkeypatch.setattr(nvrtc, "load", load)
    monkeypatch.setattr(chunks, "CHUNK", 32)
    monkeypatch.setattr(chunks, "LEAST", 8)
    before = {"fake_limit": (ctypes.c_long, 1 << 40)}
    before |= {name: (ctypes.c_int, 0) for name in ("fake_init", "fake_load", "fake_launch")}

    def switch(name, value):
        before[name][0].in_dll(switches, name).value = value

    driver = places.Driver(library)
    on = tuple(places.Gpu(driver, k) for k in range(driver.count()))
    launches = lambda: sum((ctypes.c_long * len(on)).in_dll(switches, "fake_launches"))  # noqa: E731
    yield dataclasses.make_dataclass("Fake", ["on", "switch", "launches"])(on, switch, launches)
    for name, (_, value) in before.items():
        switch(name, value)
    assert ctypes.c_long.in_dll(switches, "fake_used").value == 0, "memory of a GPU was not given back"
