"""Settings of a whole process, for the command line and workers only: importing thrombojax changes none of them."""

import os


def prepare(precision: str, threads: int | None = None) -> None:
    """Before JAX starts: as many host devices as cores (or `threads`), float64 if asked, and the compilation cache.

    A GPU keeps its own devices; what the user's environment already says is left alone.
    """
    count = threads or len(os.sched_getaffinity(0))
    flags = os.environ.get("XLA_FLAGS", "")
    for flag in (
        f"--xla_force_host_platform_device_count={count}",
        "--xla_cpu_copy_insertion_use_region_analysis=true",
    ):
        if flag.split("=")[0] not in flags:
            flags = f"{flags} {flag}".strip()
    os.environ["XLA_FLAGS"] = flags

    import jax

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.join(_cache_home(), "thrombojax", "xla"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    if precision == "f64":
        jax.config.update("jax_enable_x64", True)


def _cache_home() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
