"""Optimisation is tested in float64, by the generated kernels."""

import jax
import pytest

from thrombojax.codegen import build


@pytest.fixture(autouse=True)
def double():
    try:
        build.load("int thrombojax_works(void) { return 1; }")
    except build.NoCompiler as error:
        pytest.skip(str(error))
    with jax.enable_x64(True):
        yield
