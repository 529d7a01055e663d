"""Settings of a whole process, for the command line and workers only: importing thrombojax changes none of them."""

import os

COPIES = "--xla_cpu_copy_insertion_use_region_analysis=true"
"""A tenth of the flagship's time on the CPU."""


def prepare(precision: str) -> None:
    """Before JAX starts: float64 if asked, the compilation cache and what it needs, and an XLA flag that spares copies in loops.

    What the user's environment already says is left alone.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if COPIES.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {COPIES}".strip()

    # The reference's own checks call back to the host, and a program that does is never kept on disk: NaN says the same.
    os.environ.setdefault("EQX_ON_ERROR", "nan")

    import jax

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.join(_cache_home(), "thrombojax", "xla"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    if precision == "f64":
        jax.config.update("jax_enable_x64", True)


def _cache_home() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
