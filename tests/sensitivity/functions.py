"""Functions whose indices are known."""

import numpy as np

from thrombojax.sensitivity import Distribution, Factor, Space

A = np.array([0.0, 1.0, 4.5, 9.0, 99.0, 99.0, 99.0, 99.0])


def uniform(k, low=0.0, high=1.0, groups=None):
    d = Distribution("uniform", low=low, high=high)
    return Space(tuple(Factor(f"x{i + 1}", d, "" if groups is None else groups[i]) for i in range(k)))


ISHIGAMI = uniform(3, -np.pi, np.pi)


def ishigami(x):
    return np.sin(x[0]) + 7.0 * np.sin(x[1]) ** 2 + 0.1 * x[2] ** 4 * np.sin(x[0])


def _ishigami():
    """First, total and second-order indices (Ishigami & Homma 1990)."""
    one, two = 0.5 * (1 + 0.1 * np.pi**4 / 5) ** 2, 49.0 / 8.0
    both = 0.01 * np.pi**8 * (1 / 18 - 1 / 50)
    whole = one + two + both
    return np.array([one, two, 0.0]) / whole, np.array([one + both, two, both]) / whole, both / whole


ISHIGAMI_FIRST, ISHIGAMI_TOTAL, ISHIGAMI_13 = _ishigami()


def g(x):
    return np.prod((np.abs(4.0 * x - 2.0) + A[:, None]) / (1.0 + A[:, None]), axis=0)


def _g():
    own = 1.0 / 3.0 / (1.0 + A) ** 2
    whole = np.prod(1.0 + own) - 1.0
    return own / whole, own * np.prod(1.0 + own) / (1.0 + own) / whole


G_FIRST, G_TOTAL = _g()
