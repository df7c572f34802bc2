"""Pictures of nothing: the same ones again, all different, and none of what is measured on."""

import numpy as np

from ml.invented import KINDS, SIDE, invent


def test_they_are_made_anew_the_same_and_no_two_alike() -> None:
    first, again = list(invent(3, seed=1)), list(invent(3, seed=1))
    assert [kind for kind, _ in first] == [kind for kind in KINDS for _ in range(3)]
    pixels = [np.asarray(image) for _, image in first]
    assert all(np.array_equal(one, image) for one, (_, image) in zip(pixels, again, strict=True))
    others = [np.asarray(image) for _, image in invent(3, seed=2)]
    assert len({one.tobytes() for one in (*pixels, *others)}) == 6 * len(KINDS)
    assert {one.shape for one in pixels} == {(SIDE, SIDE, 3)}


def test_none_is_a_flat_colour_and_none_is_white_noise() -> None:
    """Both are among what ``ml.refusal`` measures on."""
    for kind, image in invent(3, seed=1):
        grey = np.asarray(image.convert("L"), np.float32)
        assert grey.std() > 1, kind
        neighbours = np.corrcoef(grey[:, 1:].ravel(), grey[:, :-1].ravel())[0, 1]
        assert neighbours > 0.15, kind
