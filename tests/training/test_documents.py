"""Documents: which are kept for validation, and the windows and rows made of the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litegpt import GPTModel
from litegpt.text import Example
from litegpt.training import Corpus, DocumentWindows, PackedDocuments, TextWindows
from litegpt.training.documents import IGNORED, held_back, split

lengths = st.lists(st.integers(0, 40), min_size=1, max_size=60)


def corpus_of(lengths: list[int]) -> Corpus:
    """Ids count through all documents, so that every token says where it is from."""
    borders = np.cumsum([0, *lengths])
    return Corpus([np.arange(a, b) for a, b in zip(borders, borders[1:], strict=False)])


def document_of(corpus: Corpus, ids: np.ndarray) -> np.ndarray:
    return np.searchsorted(corpus.borders, ids, "right") - 1


@given(lengths)
def test_training_and_validation_are_all_there_is(lengths: list[int]) -> None:
    corpus = corpus_of(lengths)
    training, validation = split(corpus)
    stretches = [
        np.arange(begin, end)
        for part in (training, validation)
        for begin, end in zip(part.begins, part.ends, strict=True)
    ]
    together = np.sort(np.concatenate([np.zeros(0, np.int64), *stretches]))
    if len(lengths) > 1 or lengths[0] >= 4:
        np.testing.assert_array_equal(together, corpus.ids)
    tenth = len(corpus.ids) // 10
    held = held_back(corpus.borders)
    kept = np.diff(corpus.borders)[held].sum()
    assert kept == 0 or tenth / 2 <= kept <= tenth


def test_of_many_documents_whole_ones_are_kept_from_all_over() -> None:
    held = held_back(np.arange(0, 10_001, 10))  # a thousand documents of ten tokens
    assert held.sum() == 100
    places = np.flatnonzero(held)
    assert np.diff(places).max() < 40  # ten apart on average
    assert not held_back(np.array([0, 1000])).any()
    assert not held_back(np.array([0, 500, 1000])).any()
    assert not held_back(np.r_[0, np.arange(1000, 1100)]).any()  # of one token, but for the first
    np.testing.assert_array_equal(held_back(np.array([0, 960, 980, 1000, 1020])), [0, 1, 1, 1])


def test_of_a_few_long_documents_the_last_tenth_of_each_is_kept() -> None:
    training, validation = split(corpus_of([100, 50]))
    assert (training.begins.tolist(), training.ends.tolist()) == ([0, 100], [90, 145])
    assert (validation.begins.tolist(), validation.ends.tolist()) == ([90, 145], [100, 150])


@given(lengths, st.integers(1, 12), st.integers(0, 2**32))
def test_windows_run_through_documents_and_say_where_they_begin(
    lengths: list[int], window: int, seed: int
) -> None:
    corpus = corpus_of(lengths)
    try:
        data = DocumentWindows(corpus, window)
        crossing = DocumentWindows(corpus, window, borders=False)
    except ValueError:
        return
    inputs, targets, starts = data.batch(9, np.random.default_rng(seed))
    held, training = held_back(corpus.borders), split(corpus)[0]
    if held.any():
        assert not held[document_of(corpus, inputs)].any()
    where = np.searchsorted(training.begins, inputs, "right")
    for row in range(9):
        steps = np.diff(where[row])
        np.testing.assert_array_equal(starts[row, 1:], steps > 0)
        same = steps == 0
        np.testing.assert_array_equal(inputs[row, 1:][same], inputs[row, :-1][same] + 1)
        np.testing.assert_array_equal(targets[row, :-1], np.where(same, inputs[row, 1:], IGNORED))
    text = np.concatenate(list(map(np.arange, training.begins, training.ends)))
    drawn = np.random.default_rng(seed).integers(len(text) - window, size=9)
    windows = text[drawn[:, None] + np.arange(window + 1)]
    again = crossing.batch(9, np.random.default_rng(seed))
    assert len(again) == 2
    np.testing.assert_array_equal(again[0], windows[:, :-1])
    np.testing.assert_array_equal(again[1], windows[:, 1:])
    teaches = (np.diff(np.searchsorted(training.begins, windows, "right")) == 0).any(axis=1)
    np.testing.assert_array_equal(inputs[teaches], windows[teaches, :-1])  # others are drawn again
    assert (targets != IGNORED).any(axis=1).all()
    for batch in data.validation_batches(3, 2):
        if held.any():
            assert held[document_of(corpus, batch[0])].all()


def test_one_text_in_a_corpus_gives_the_windows_of_the_text() -> None:
    ids = np.random.default_rng(0).integers(0, 65, 5000)
    text, corpus = TextWindows(ids, 16), DocumentWindows(Corpus([ids]), 16)
    for step in range(5):
        one, other = (
            d.batch(12, np.random.default_rng((1337, step, 0, 0))) for d in (text, corpus)
        )
        starts = np.random.default_rng((1337, step, 0, 0)).integers(4500 - 16, size=12)
        np.testing.assert_array_equal(one[0], ids[starts[:, None] + np.arange(16)])
        np.testing.assert_array_equal(one[1], ids[starts[:, None] + np.arange(1, 17)])
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
        assert not other[2][:, 1:].any()


def example(given: int, learned: int, first: int = 0) -> Example:
    ids = np.arange(first, first + given + learned)
    return Example(ids, np.arange(given + learned) >= given)


def test_what_is_given_is_no_target() -> None:
    corpus = Corpus([example(3, 4, 10 * i) for i in range(30)])
    assert corpus.given[:, :2].tolist() == [[0, 7], [3, 10]]
    inputs, targets, _ = DocumentWindows(corpus, 20).batch(50, np.random.default_rng(0))
    place = targets % 10
    assert set(place[targets != IGNORED].tolist()) == {3, 4, 5, 6}
    assert (targets[(inputs % 10 >= 2) & (inputs % 10 < 6)] != IGNORED).all()


@given(lengths, st.integers(1, 15), st.booleans())
def test_rows_hold_every_document_once(lengths: list[int], window: int, borders: bool) -> None:
    corpus = corpus_of(lengths)
    try:
        data = PackedDocuments(corpus, window, borders)
    except ValueError:
        return
    held = held_back(corpus.borders)
    if not held.any():
        held[-1] = True
    batch = data.batch(data.rows, np.random.default_rng(0))
    inputs, targets = batch[:2]
    read = [(i, j) for i in range(data.rows) for j in range(window) if targets[i, j] != IGNORED]
    learned = np.sort([targets[place] for place in read])
    is_first = np.isin(corpus.ids, corpus.borders)
    wanted = corpus.ids[~is_first & ~held[document_of(corpus, corpus.ids)]]
    np.testing.assert_array_equal(learned, wanted)  # each token that has one before it, once
    assert all(targets[place] == inputs[place] + 1 for place in read)
    assert (targets != IGNORED).any(axis=1).all()


def test_loss_and_gradients_of_packed_rows_are_those_of_the_examples_alone() -> None:
    """In float64: the whole way from examples to gradients, with prompts that don't count."""
    from litegpt import kernels

    rng = np.random.default_rng(1)
    examples = [
        Example(rng.integers(0, 11, n), np.arange(n) >= prompt)
        for n, prompt in ((9, 3), (4, 0), (12, 5), (3, 1), (7, 2), (6, 6), (2, 1), (5, 0))
    ]
    corpus = Corpus(examples)
    data = PackedDocuments(corpus, 12)
    batch = data.batch(data.rows, np.random.default_rng(0))
    held = held_back(corpus.borders)
    examples = [e for e, kept in zip(examples, held, strict=True) if not kept]
    assert len(examples) == 7 and data.rows < 5  # so there are rows of several
    models = [
        GPTModel(11, 12, 2, 2, 8, dropout=0, seed=0, position=position)
        for position in ("learned", "sinusoidal", "rotary")
        for _ in range(2)
    ]
    for packed, alone in zip(models[::2], models[1::2], strict=True):
        for parameter in (*packed.parameters(), *alone.parameters()):
            parameter.cast(np.float64)
        counted = sum(int(e.learned[1:].sum()) for e in examples)
        loss = 0.0
        with kernels.use_backend("numpy"):
            for e in examples:
                share = int(e.learned[1:].sum()) / counted
                targets = np.where(e.learned[1:], e.ids[1:], IGNORED)
                if share:
                    loss += share * alone.loss_and_backward(e.ids[:-1], targets, scale=share)
            together = packed.loss_and_backward(*batch[:2], document_starts=batch[2])
        assert together == pytest.approx(loss, rel=1e-9)
        for (name, p), q in zip(packed.named_parameters(), alone.parameters(), strict=True):
            np.testing.assert_allclose(p.grad, q.grad, rtol=1e-6, atol=1e-10, err_msg=name)


def test_ids_of_any_width_give_the_same_batches() -> None:
    """Those of token files are narrow and unsigned; -100 is neither."""

    class Narrow(Corpus):
        def __init__(self, wide: Corpus) -> None:
            self.ids, self.borders, self.given = (
                wide.ids.astype(np.uint16),
                wide.borders,
                wide.given,
            )

    wide = Corpus([example(3, 5, 10 * i) for i in range(40)])
    for make in (DocumentWindows, PackedDocuments):
        batches = [
            make(documents, 12).batch(6, np.random.default_rng(0))
            for documents in (wide, Narrow(wide))
        ]
        for one, other in zip(*batches, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


def test_packing_leaves_little_room() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(10, 100, 2000)
    data = PackedDocuments(Corpus([np.zeros(n, np.int64) for n in sizes]), 256)
    tokens = sum(sizes[~held_back(np.cumsum([0, *sizes]))] - 1)
    assert tokens / (data.rows * 256) > 0.99


def test_validation_rows_come_once_and_always_the_same() -> None:
    data = PackedDocuments(corpus_of([5] * 100), 7)  # ten are kept, one to a row
    batches = [batch[0] for batch in data.validation_batches(4, 20)]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert len(np.unique(np.concatenate(batches)[:, 0])) == 10
    assert sum(len(batch[0]) for batch in data.validation_batches(2, 3)) == 6
    again = [batch[0] for batch in data.validation_batches(4, 20)]
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(batches))


def test_fingerprints_tell_data_apart() -> None:
    corpora = [corpus_of([30, 30]), corpus_of([30, 29]), Corpus([example(5, 55)])]
    prints = {
        make(corpus, window, borders).fingerprint
        for corpus in corpora[:2]
        for make in (DocumentWindows, PackedDocuments)
        for window in (4, 5)
        for borders in (False, True)
    }
    assert len(prints) == 16
    assert len({corpus.fingerprint for corpus in corpora}) == 3
    assert corpus_of([30, 30]).fingerprint == corpora[0].fingerprint


def test_too_little_is_said() -> None:
    with pytest.raises(ValueError, match="2 documents of 12 tokens leave 12 to train on, too few"):
        DocumentWindows(corpus_of([6, 6]), 8)
    with pytest.raises(ValueError, match=r"too few documents \(1\)"):
        PackedDocuments(corpus_of([6]), 8)
    with pytest.raises(ValueError, match=r"too few documents \(0\)"):
        PackedDocuments(Corpus([]), 8)
    with pytest.raises(ValueError, match="window must be 1 or more, not 0"):
        PackedDocuments(corpus_of([6, 6]), 0)
    with pytest.raises(ValueError, match=r"shape \(T,\), not \(1, 2\)"):
        Corpus([[[1, 2]]])
