"""Games whose Shapley values are known."""

import numpy as np
import pytest

from mmkeras.explanation.shapley import all_patterns, contexts, exact, patterns_of, sampled, sampled_orders


def results(patterns, game):
    return np.array([game(set(np.flatnonzero(pattern))) for pattern in patterns], float)


def gloves(there):
    """Players 0 and 1 have a left glove, 2 has the right one; a pair is worth 1."""
    return float(2 in there and len(there) > 1)


def test_patterns_begin_with_nobody_and_end_with_everybody():
    assert all_patterns(2).tolist() == [[False, False], [False, True], [True, False], [True, True]]


def test_gloves():
    np.testing.assert_allclose(exact(results(all_patterns(3), gloves)), [1 / 6, 1 / 6, 4 / 6])


def test_one_player_gets_all():
    np.testing.assert_allclose(exact(np.array([0.2, 0.7])), [0.5])


def test_values_add_up_and_idle_players_get_nothing():
    """Player 1 of four changes nothing; rows stand behind each other."""
    rng = np.random.default_rng(0)
    patterns = all_patterns(4)
    table = {tuple(pattern): rng.normal(size=5) for pattern in np.delete(patterns, 1, axis=1).tolist()}
    found = exact(np.stack([table[tuple(np.delete(pattern, 1).tolist())] for pattern in patterns]))
    assert found.shape == (4, 5)
    np.testing.assert_allclose(found[1], 0, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=0), table[(True,) * 3] - table[(False,) * 3])


def test_orders_are_permutations_with_their_reverses():
    orders = sampled_orders(9, 7)
    assert orders.shape == (7, 9)
    assert (np.sort(orders, axis=1) == np.arange(9)).all()
    np.testing.assert_array_equal(orders[1], orders[0][::-1])
    np.testing.assert_array_equal(orders, sampled_orders(9, 7))


def test_all_orders_give_the_exact_values():
    import itertools

    orders = np.array(list(itertools.permutations(range(3))))
    patterns, index = patterns_of(orders)
    assert patterns.tolist() == all_patterns(3).tolist()
    np.testing.assert_allclose(sampled(results(patterns, gloves), orders, index), [1 / 6, 1 / 6, 4 / 6])


@pytest.mark.parametrize("permutations", [1, 40])
def test_sampled_values_add_up_and_come_near(permutations):
    weights = np.arange(1.0, 11)

    def game(there):
        return sum(weights[i] for i in there) + 3.0 * ({0, 9} <= there)

    orders = sampled_orders(10, permutations)
    patterns, index = patterns_of(orders)
    assert not patterns[0].any() and patterns[-1].all()
    found = sampled(results(patterns, game), orders, index)
    assert found.sum() == pytest.approx(game(set(range(10))))
    np.testing.assert_allclose(found[1:9], weights[1:9])
    if permutations > 1:  # an order and its reverse share out what two do together
        np.testing.assert_allclose(found[[0, 9]], weights[[0, 9]] + 1.5)


def test_the_others_that_a_player_finds():
    """Gloves again: what the third player adds, as a mean over whom it finds."""
    others, weights = contexts(3, 2)
    assert others.tolist() == [[False] * 3, [False, True, False], [True, False, False], [True, True, False]]
    np.testing.assert_allclose(weights, [1 / 3, 1 / 6, 1 / 6, 1 / 3])
    gains = [gloves({*np.flatnonzero(found), 2}) - gloves(set(np.flatnonzero(found))) for found in others]
    assert weights @ gains == pytest.approx(4 / 6)


@pytest.mark.parametrize(("players", "player"), [(1, 0), (4, 3), (5, 2), (20, 7)])
def test_few_others_are_enough(players, player):
    others, weights = contexts(players, player)
    assert len(others) == min(8, 2 ** (players - 1)) and others.shape[1] == players
    assert not others[:, player].any() and weights.sum() == pytest.approx(1)
