"""How far a number that was counted on some examples may be from that of all such examples. Importable without torch.

Every interval is (low, high), with a confidence of 95 %.
"""

import math

Z95 = 1.959963984540054
Bounds = tuple[float, float]


def wilson(right: float, n: float) -> Bounds:
    """Of a share of n independent examples, without correction for continuity.

    Source: Wilson 1927; Newcombe 1998 (Statistics in Medicine 17, 857), method 3.
    """
    share, z2 = right / n, Z95**2
    centre = (right + z2 / 2) / (n + z2)
    reach = Z95 * math.sqrt(n * share * (1 - share) + z2 / 4) / (n + z2)
    return (0.0 if right == 0 else centre - reach), (1.0 if right == n else centre + reach)


def paired(both: int, only_first: int, only_second: int, neither: int) -> Bounds:
    """Of the first share less the second one, of the same examples: counts of those that both, one or none got right.

    Source: Newcombe 1998 (Statistics in Medicine 17, 2635), method 10.
    """
    n = both + only_first + only_second + neither
    first, second = (both + only_first) / n, (both + only_second) / n
    (l1, u1), (l2, u2) = wilson(both + only_first, n), wilson(both + only_second, n)
    phi = _correlation(both, only_first, only_second, neither)

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    drop = (only_first - only_second) / n
    return drop - reach(first - l1, u2 - second), drop + reach(u1 - first, second - l2)


def mean(total: float, squares: float, n: int) -> Bounds:
    """Of the mean of n values, from their sum and that of their squares; normal, so for many values."""
    centre = total / n
    variance = max(squares - n * centre**2, 0.0) / max(n - 1, 1)
    reach = Z95 * math.sqrt(variance / n)
    return centre - reach, centre + reach


def examples_for(drop: float, disagreeing: float) -> int:
    """Examples from which on so large a drop would be more than chance.

    Args: disagreeing: share of the examples that only one of the two gets right.
    """
    return math.ceil(disagreeing * (Z95 / drop) ** 2)


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi of the two, brought towards 0 by n / 2 where it is positive."""
    n = both + only_first + only_second + neither
    sides = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not sides:
        return 0.0
    cross = both * neither - only_first * only_second
    return (max(cross - n / 2, 0.0) if cross > 0 else cross) / math.sqrt(sides)
