"""Shapley values: what each of M players adds to a game's result, fairly shared.

The players are a row's columns, the result is a prediction from some of them, the others missing.

References:
    Shapley, A Value for n-Person Games, 1953; Lundberg and Lee, A Unified Approach to Interpreting Model Predictions,
    2017, arXiv:1705.07874.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

MOST_EXACT = 8  # players; of more there are too many patterns
PERMUTATIONS = 100


def all_patterns(players: int) -> np.ndarray:
    """(2^M, M) bool: who plays; first nobody, last everybody."""
    return np.array(list(itertools.product((False, True), repeat=players)))


def exact(results: np.ndarray) -> np.ndarray:
    """The values of each player from all patterns' results.

    phi_i = sum over S without i of |S|! (M - |S| - 1)! / M! (f(S + i) - f(S)).

    Args:
        results: (2^M, …) in the order of `all_patterns`.

    Returns:
        (M, …) in double precision, which add up to the last result less the first.
    """
    patterns = all_patterns(int(math.log2(len(results))))
    players = patterns.shape[1]
    results = np.asarray(results, np.float64)
    values = np.zeros((players, *results.shape[1:]))
    for place, pattern in enumerate(patterns):
        others = int(pattern.sum())
        for player in np.flatnonzero(~pattern):
            weight = 1 / (players * math.comb(players - 1, others))
            joined = place + 2 ** (players - 1 - player)  # the pattern's number with the player's bit
            values[player] += weight * (results[joined] - results[place])
    return values


def contexts(players: int, player: int, most: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The others that one player may find when it joins (S, M), and how often it finds them (S,), which adds up to 1.

    All of them where they are not more than `most`, else those of so many sampled orders.
    """
    if 2 ** (players - 1) <= most:
        patterns = all_patterns(players)
        patterns = patterns[~patterns[:, player]]
        return patterns, np.array([1 / (players * math.comb(players - 1, int(pattern.sum()))) for pattern in patterns])
    orders = sampled_orders(players, most, seed)
    place = np.argsort(orders, axis=1)
    return place < place[:, [player]], np.full(most, 1 / most)


def sampled_orders(players: int, permutations: int = PERMUTATIONS, seed: int = 0) -> np.ndarray:
    """(R, M) orders in which players join, each followed by its reverse, which evens out much of the chance."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(players) for _ in range((permutations + 1) // 2)]
    return np.stack([order for one in drawn for order in (one, one[::-1])][:permutations])


def patterns_of(orders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct patterns (P, M) that arise as players join in these orders, and (R, M + 1) which arises when.

    First of them is nobody and last everybody.
    """
    players = orders.shape[1]
    steps = np.arange(players + 1)
    place = np.argsort(orders, axis=1)  # (R, M): when a player joins
    arising = place[:, np.newaxis, :] < steps[:, np.newaxis]  # (R, M + 1, M)
    patterns, index = np.unique(arising.reshape(-1, players), axis=0, return_inverse=True)
    return patterns, index.reshape(len(orders), players + 1)


def sampled(results: np.ndarray, orders: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The values of each player as means over orders of what it adds when it joins; they add up as exact ones do.

    Args:
        results: (P, …) of the patterns of `patterns_of`.
        orders: (R, M).
        index: (R, M + 1) as `patterns_of` gives it.

    Returns:
        (M, …) in double precision.

    References:
        Castro et al., Polynomial Calculation of the Shapley Value Based on Sampling, 2009, Computers & Operations
        Research 36(5).
    """
    results = np.asarray(results, np.float64)
    values = np.zeros((orders.shape[1], *results.shape[1:]))
    for order, places in zip(orders, index, strict=True):
        values[order] += results[places[1:]] - results[places[:-1]]
    return values / len(orders)
