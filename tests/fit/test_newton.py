"""Levenberg-Marquardt against answers that are known: linear problems, bounds, and a valley of SciPy's."""

import numpy as np
from scipy.optimize import rosen

from thrombojax.fit.newton import minimise

FAR = np.full((2, 1), np.inf)


def linear(design, data):
    """Least squares of each column of `data` `[place, row]` with a standard normal prior."""

    def evaluate(z, rows):
        r = data[:, rows] - design @ z
        hessian = np.broadcast_to(design.T @ design + np.eye(len(z)), (len(rows), len(z), len(z)))
        return 0.5 * (r**2).sum(0) + 0.5 * (z**2).sum(0), -design.T @ r + z, hessian

    return evaluate


def test_a_linear_problem_has_the_answer_of_the_normal_equations():
    rng = np.random.default_rng(1)
    design, data = rng.normal(size=(6, 3)), rng.normal(size=(6, 50)) * 3
    limit = np.full((3, 50), np.inf)
    found = minimise(linear(design, data), np.zeros((3, 50)), -limit, limit, tolerance=1e-8)
    known = np.linalg.solve(design.T @ design + np.eye(3), design.T @ data)
    np.testing.assert_allclose(found.z, known, atol=1e-8)
    assert found.converged.all()


def test_a_problem_ends_the_same_alone_and_among_others():
    rng = np.random.default_rng(2)
    design, data = rng.normal(size=(6, 3)), rng.normal(size=(6, 20)) * 3
    limit = np.full((3, 20), np.inf)
    whole = minimise(linear(design, data), np.zeros((3, 20)), -limit, limit)
    for k in (0, 7):
        one = minimise(linear(design, data[:, [k]]), np.zeros((3, 1)), -limit[:, :1], limit[:, :1])
        np.testing.assert_allclose(one.z[:, 0], whole.z[:, k], rtol=1e-12)
        assert one.iterations[0] == whole.iterations[k]


def test_a_bound_holds_an_unknown_and_the_others_find_their_best_beside_it():
    design, data = np.array([[1.0, 0.5], [0.2, 1.0], [0.0, 0.3]]), np.array([[9.0], [1.0], [0.5]])
    found = minimise(linear(design, data), np.zeros((2, 1)), -FAR, np.array([[1.0], [np.inf]]), tolerance=1e-9)
    rest = data[:, 0] - design[:, 0] * 1.0
    assert found.z[0, 0] == 1.0
    np.testing.assert_allclose(found.z[1, 0], design[:, 1] @ rest / (design[:, 1] @ design[:, 1] + 1), rtol=1e-9)
    assert found.converged[0]


def test_a_curved_valley_is_followed_to_its_end():
    def evaluate(z, rows):
        x, y = z
        r = np.stack([np.sqrt(200) * (y - x**2), np.sqrt(2) * (1 - x)])
        j = np.stack(
            [
                np.stack([-2 * np.sqrt(200) * x, np.full_like(x, np.sqrt(200))]),
                np.stack([np.full_like(x, -np.sqrt(2)), 0 * x]),
            ]
        )
        value = np.array([rosen(one) for one in z.T])
        return value, np.einsum("mkn,mn->kn", j, r), np.einsum("mkn,mln->nkl", j, j)

    found = minimise(evaluate, np.array([[-1.2, 0.5], [1.0, 2.0]]), -FAR, FAR, tolerance=1e-6, most=200)
    np.testing.assert_allclose(found.z, 1.0, atol=1e-5)


def test_what_is_not_finite_anywhere_is_left_alone():
    def evaluate(z, rows):
        return np.where(rows == 1, np.inf, (z[0] ** 2) / 2), z.copy(), np.ones((len(rows), 1, 1))

    found = minimise(evaluate, np.ones((1, 3)), np.full((1, 3), -9.0), np.full((1, 3), 9.0))
    assert found.converged.tolist() == [True, False, True]
    assert not np.isfinite(found.objective[1])
