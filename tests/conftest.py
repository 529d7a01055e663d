"""Settings of the whole test session: float64, no silent promotion of dtype or rank, what is compiled kept on disk."""

import os
from pathlib import Path

# Before JAX is imported, and for the subprocesses that tests start. The key is the program itself: nothing goes stale.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "xla"))
os.environ.setdefault("EQX_ON_ERROR", "nan")  # as `thrombojax.process`: else the reference's programs are not kept
os.environ.setdefault("THROMBOJAX_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "thrombojax"))

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

settings.register_profile("thrombojax", deadline=None, derandomize=True)
settings.load_profile("thrombojax")


@pytest.hookimpl(wrapper=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """A module's tests stay on one worker, where what they share is made once; some modules say a group of their own."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    return (yield)


@pytest.fixture(scope="module")
def small_blocks():
    """Launches of few patients, for tests that solve few: `xla` fills a block of 1024 with copies, which tell no more."""
    from thrombojax.solve import engine  # not before the types of its arrays are watched

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(engine.BLOCK, "xla", 16)
        patch.setitem(engine.BLOCK, "reference", 8)
        yield
