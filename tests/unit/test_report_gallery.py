"""The gallery: which samples are kept, how they are drawn small, how the page lets one choose among them."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ironbound.auditing.gallery import BYTES, LEAST, MOST, ORDER, WIDEST, chosen
from ironbound.auditing.report.render import IMAGE_BYTES, gallery_of, render, render_many
from ironbound.showing.images import SIDES, Picture, figures, shrunk, shrunk_change
from report_samples import audit, picture


def verdicts(labels: list[int], kinds: list[str], seed: int = 0) -> Any:
    """As much of `Verdicts` as choosing needs."""
    order = np.random.default_rng(seed).permutation(len(labels))
    digest = np.array([f"{k:032d}".encode() for k in order], dtype="S32")
    return SimpleNamespace(verdict=np.array(kinds, dtype=object), label=np.array(labels), digest=digest)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(ORDER)), max_size=300), st.integers(0, 3))
def test_kept_are_the_smallest_keys_of_every_class_in_turn(samples: list[tuple[int, str]], seed: int) -> None:
    known = verdicts([label for label, _ in samples], [kind for _, kind in samples], seed)
    for kind, places in zip(ORDER, chosen(known, 100), strict=True):
        mine = [i for i, (_, other) in enumerate(samples) if other == kind]
        assert len(places) == min(MOST[kind], len(mine))
        counts = Counter(samples[i][0] for i in places)
        for label in {samples[i][0] for i in mine}:
            of_label = sorted((i for i in mine if samples[i][0] == label), key=lambda i: known.digest[i])
            here = [i for i in places if samples[i][0] == label]
            assert here == of_label[: counts[label]]
            # no class has two more than one that still had samples to give
            assert counts[label] == len(of_label) or counts[label] >= max(counts.values()) - 1
        assert [samples[i][0] for i in places] == sorted(samples[i][0] for i in places)


def test_with_many_classes_each_is_there_up_to_a_limit() -> None:
    many = verdicts([k % 80 for k in range(800)], ["broken"] * 800)
    assert Counter(many.label[i] for i in chosen(many, 100)[0]) == dict.fromkeys(range(80), 1)
    more = verdicts([k % 400 for k in range(800)], ["broken"] * 800)
    assert len(chosen(more, 100)[0]) == WIDEST


def test_large_inputs_are_fewer_and_every_verdict_keeps_some() -> None:
    known = verdicts([k % 10 for k in range(4000)], [ORDER[k // 1000] for k in range(4000)])
    small = chosen(known, 4 * 3 * 250 * 250)
    kept = sum(map(len, small)) + len(small[0])
    assert kept * 4 * 3 * 250 * 250 <= BYTES
    assert min(map(len, small)) >= LEAST
    assert [len(places) for places in chosen(known, 1 << 40)] == [LEAST] * 4


def test_small_pictures_stay_and_large_ones_are_averaged() -> None:
    small, large = torch.rand(3, 40, 56), torch.rand(1, 300, 150)
    assert shrunk(small, 56) is small
    cut = shrunk(large, 100)
    assert cut.shape == (1, 100, 50)
    assert cut[0, 0, 0] == pytest.approx(float(large[0, :3, :3].double().mean()), abs=1e-12)


def test_a_change_that_is_cut_keeps_its_largest_pixels() -> None:
    change = torch.full((1, 8, 8), 0.5)
    change[0, 0, 1], change[0, 0, 0], change[0, 5, 5] = 0.9, 0.3, 0.1
    cut = shrunk_change(change, 4)
    assert cut.shape == (1, 4, 4)
    assert (float(cut[0, 0, 0]), float(cut[0, 2, 2])) == pytest.approx((0.9, 0.1))
    assert int((cut != 0.5).sum()) == 2


def sizes(page: str) -> set[tuple[int, int]]:
    encoded = re.findall('src="data:image/png;base64,([^"]+)"', page)
    return {Image.open(io.BytesIO(base64.b64decode(text))).size for text in encoded}


def test_a_page_of_ten_thousand_samples_and_many_large_pictures_is_below_five_megabytes() -> None:
    sample = audit(231, 4_469, 3_003, 2_297, names=[f"class {i}" for i in range(100)])
    kinds = ["broken"] * 100 + ["undecided", "certified", "wrong"] * 12
    bare = {"adversarial": None, "adversarial_answer": ""}
    shown = [
        picture(i, (3, 224, 224), verdict=kind, label=f"class {i % 100}", **({} if kind == "broken" else bare))
        for i, kind in enumerate(kinds)
    ]
    page = render(sample, shown)
    assert len(page.encode()) < 5_000_000
    assert len(page.encode()) > 1_000_000  # the room is used
    assert {max(size) for size in sizes(page)} <= set(SIDES)
    assert page.count('<option value="c') == 100
    for kind in ORDER:
        assert f'class="sample v-{kind} ' in page


def test_pictures_that_do_not_fit_at_any_size_are_left_out_evenly_and_counted() -> None:
    shown = [picture(i, (3, 64, 64), verdict=ORDER[i // 10], label=str(i % 10)) for i in range(40)]
    made = figures(shown, 300_000)
    assert sum(len(image) for one in made for image in one["images"]) <= 300_000
    assert {one["picture"].verdict for one in made} == set(ORDER)
    assert gallery_of(audit(), shown, 300_000)["left_out"] == 40 - len(made) > 0
    assert f"{40 - len(made)} further pictures left out" in render_many(
        "t", [(str(k), audit(), shown if k == 0 else []) for k in range(IMAGE_BYTES // 300_000)]
    )


def test_what_can_be_chosen_is_what_is_there_with_how_many() -> None:
    shown = [picture(1, label="7"), picture(2, label="3"), picture(3, label="7", verdict="undecided", adversarial=None)]
    page = render(audit(), shown)
    assert re.findall(r'<option value="(\w*)">([^<]*)', page) == [("", "all 2"), ("c0", "3 (1)"), ("c1", "7 (2)")]
    assert re.findall(r'class="is-(\w+)"( checked)?', page) == [("all", ""), ("broken", " checked"), ("undecided", "")]
    assert re.findall(r'class="sample (v-\w+ c\d)"', page) == ["v-broken c1", "v-broken c0", "v-undecided c1"]
    assert "2 of 281 broken, 1 of 89 undecided" in re.sub(r"\s+", " ", page)
    assert page.count(":has(option[value=") == 2
    one = render(audit(), [picture(1)])
    assert "<fieldset" not in one
    assert "<option" not in one


def test_samples_without_a_witness_say_why() -> None:
    shown = [picture(k, verdict=kind, adversarial=None) for k, kind in enumerate(("undecided", "certified", "wrong"))]
    page = render(audit(), shown)
    for words in ("No attack that was run changed the answer.", "Proven: no change", "Wrong before any change."):
        assert page.count(words) == 1
    assert page.count("<img") == 3
    assert "change of size" not in page


def test_vectors_are_tables_of_what_changed() -> None:
    clean = torch.tensor([1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    after = clean + torch.tensor([0.5, 0.0, -2.0, 0.1, 0.1, 0.1, 0.1, 0.1])
    vector = Picture(4, "yes", "yes", "no", 0.9, 0.8, "broken", 2.0, clean, after)
    bare = Picture(5, "no", "yes", "", 0.7, float("nan"), "wrong", 0.0, clean, None)
    page = render(audit(), [vector, bare])
    assert re.findall(r'<tr><th scope="row">(\d)</th><td class="n">([\d.]+)</td>', page)[:2] == [("2", "3"), ("0", "1")]
    assert ">-2</td>" in page
    assert "1 further feature changed less." in page
    assert "<img" not in page
    assert "Wrong before any change." in page
