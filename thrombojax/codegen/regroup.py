"""Sums and products in a better order: what changes seldom is gathered, what is ready late comes last.

A right-hand side is a few hundred operations whose results wait for each other; written as the model has them, a core spends
half of its time waiting (measured). Only the last bits of a result change.
"""

import heapq
from collections import Counter
from collections.abc import Sequence

from thrombojax.codegen.expression import Graph, Node

_LATENCY = {"add": 3, "sub": 3, "mul": 3, "neg": 1, "reciprocal": 13, "sqrt": 20, "select": 2}
_SLOW = 40
"""Cycles from arguments to result: _LATENCY, 1 for comparisons, _SLOW for elementary functions."""


def regroup(g: Graph, outputs: Sequence[Node], point: int) -> list[Node]:
    """The same values with sums and products regrouped; `point`: the level of values that change everywhere."""
    return _Regrouping(g, outputs, point).outputs


class _Regrouping:
    def __init__(self, g: Graph, outputs: Sequence[Node], point: int):
        self.g, self.point = g, point
        self.uses: Counter[Node] = Counter(outputs)
        self.done: dict[Node, Node] = {}
        self.at: dict[Node, int] = {}
        order = g.order(outputs)
        for node in order:
            self.uses.update(g.operations[node].args)
        inner = self._inner(order, set(outputs))
        for node in order:
            # Values of lower levels stay as they are: others may have them already.
            if node not in inner and g.level[node] >= point:
                self.done[node] = self._rebuild(node)
        self.outputs = [self.done.get(node, node) for node in outputs]

    def _inner(self, order: Sequence[Node], outputs: set[Node]) -> set[Node]:
        """Partial sums and products that only one larger sum or product of the same kind reads."""
        found = set()
        for node in order:
            kind = self._kind(node)
            for a in self.g.operations[node].args:
                low = self.g.level[a] < self.point
                if kind and self._kind(a) == kind and self.uses[a] == 1 and a not in outputs and not low:
                    found.add(a)
        self.inner = found
        return found

    def _kind(self, node: Node) -> str:
        name = self.g.operations[node].name
        return "sum" if name in ("add", "sub", "neg") else "product" if name == "mul" else ""

    def ready(self, node: Node) -> int:
        """Cycles after which a value is there, if those of lower levels are at hand."""
        if self.g.level[node] < self.point or self.g.operations[node].name == "symbol":
            return 0
        if node not in self.at:
            name, args, _ = self.g.operations[node]
            cost = _LATENCY.get(name, 1 if self.g.is_mask(node) else _SLOW)
            self.at[node] = cost + max(self.ready(a) for a in args)
        return self.at[node]

    def _rebuild(self, node: Node) -> Node:
        name, args, _ = self.g.operations[node]
        kind = self._kind(node)
        if kind == "sum":
            return self._sum(self._terms(node, 1))
        if kind == "product":
            return self._product(self._factors(node))
        return self.g.add(name, *(self.done.get(a, a) for a in args))

    def _terms(self, node: Node, sign: int) -> list[tuple[int, Node]]:
        name, args, _ = self.g.operations[node]
        signs = {"add": (sign, sign), "sub": (sign, -sign), "neg": (-sign,)}[name]
        found = []
        for s, a in zip(signs, args, strict=True):
            found += self._terms(a, s) if a in self.inner else [(s, self.done.get(a, a))]
        return found

    def _factors(self, node: Node) -> list[Node]:
        found = []
        for a in self.g.operations[node].args:
            found += self._factors(a) if a in self.inner else [self.done.get(a, a)]
        return found

    def _sum(self, terms: list[tuple[int, Node]]) -> Node:
        """Seldom changing terms first; then always the two that are ready first, products joining sums where they can."""
        low: dict[int, list[tuple[int, Node]]] = {}
        for term in terms:
            low.setdefault(min(self.g.level[term[1]], self.point), []).append(term)
        heap: list[tuple[int, int, int, Node]] = []
        for level in sorted(low):
            group = low[level] if level == self.point else [_chain(self.g, low[level])]
            for sign, n in group:
                heapq.heappush(heap, (self.ready(n), len(heap), sign, n))
        count = len(heap)
        while len(heap) > 1:
            _, _, s, x = heapq.heappop(heap)
            _, _, r, y = heapq.heappop(heap)
            joined = (s, self.g.add("add" if s == r else "sub", x, y))
            if s < 0 < r:
                joined = (1, self.g.add("sub", y, x))
            count += 1
            heapq.heappush(heap, (self.ready(joined[1]), count, *joined))
        _, _, sign, total = heap[0]
        return total if sign > 0 else self.g.add("neg", total)

    def _product(self, factors: list[Node]) -> Node:
        """Seldom changing factors first; then always the two that are ready first."""
        low: dict[int, list[Node]] = {}
        for n in factors:
            low.setdefault(min(self.g.level[n], self.point), []).append(n)
        heap: list[tuple[int, int, Node]] = []
        for level in sorted(low):
            group = low[level]
            if level < self.point:
                product = group[0]
                for n in group[1:]:
                    product = self.g.add("mul", product, n)
                group = [product]
            for n in group:
                heapq.heappush(heap, (self.ready(n), len(heap), n))
        count = len(heap)
        while len(heap) > 1:
            x, y = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
            count += 1
            joined = self.g.add("mul", x, y)
            heapq.heappush(heap, (self.ready(joined), count, joined))
        return heap[0][2]


def _chain(g: Graph, terms: list[tuple[int, Node]]) -> tuple[int, Node]:
    """The sum of terms of one level, one after the other."""
    sign, total = terms[0]
    for s, n in terms[1:]:
        if sign == s:
            total = g.add("add", total, n)
        elif sign > 0:
            total = g.add("sub", total, n)
        else:
            sign, total = 1, g.add("sub", n, total)
    return sign, total
