"""What a result shows: inputs found first, the change magnified, answers with the confidence of the model itself."""

from __future__ import annotations

import base64
import io
import re
import sys
from html import unescape
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ironbound as ib
from ironbound.core.errors import InputError, UsageError
from ironbound.core.protocols import Status
from ironbound.core.rng import Rng
from ironbound.showing.seen import answers
from ironbound.testing import fit

IMAGE = 'src="data:image/png;base64,([^"]+)"'


def found(shape: tuple[int, ...] = (1, 4, 4), n: int = 7, eps: float = 0.1, **options):
    model, x, y = fit(shape, 3, n)
    return model, x, y, ib.attack(model, x, y, threat=ib.Linf(eps), method="pgd", **options)


def images(page: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in re.findall(IMAGE, page)]


@pytest.mark.parametrize("channels", [1, 3])
def test_clean_adversarial_and_change_are_drawn_found_ones_first(channels: int, tmp_path: Path) -> None:
    _, x, _, result = found((channels, 4, 4))
    page = result.show(tmp_path / "found.html")
    assert (tmp_path / "found.html").read_text() == page.text
    drawn, first = images(page.text), int((result.status == int(Status.FOUND)).nonzero()[0, 0])
    assert len(drawn) == 3 * len(x)
    bytes_of = lambda image: (image.float().permute(1, 2, 0).squeeze(-1) * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(drawn[0], bytes_of(x[first]))
    assert np.array_equal(drawn[1], bytes_of(result.adversarial[first]))
    assert {drawn[2].max(), 255 - drawn[2].min()} & {255}  # the largest change fills the range
    said = re.findall(r"Input (\d+), truly", page.text)
    found_ones = [str(i) for i in range(len(x)) if result.status[i] == int(Status.FOUND)]
    assert said[: len(found_ones)] == found_ones
    assert f"found for {len(found_ones)}" in page.words


def test_answers_have_the_confidence_of_the_models_own_pass() -> None:
    model, x, y, result = found()
    page = unescape(result.show(names=["cat", "dog", "owl"]).text)
    with torch.no_grad():
        before, after = (model.module.eval()(inputs).double().softmax(1).max(1) for inputs in (x, result.adversarial))
    for i in range(len(y)):
        words = ["cat", "dog", "owl"]
        for sure, said in (before, after):
            assert f'{words[int(said[i])]} <span class="quiet">{100 * float(sure[i]):.1f}%</span>' in page
    assert "truly owl" in page or "truly cat" in page or "truly dog" in page


def test_vectors_are_tables_of_the_features_that_changed_most() -> None:
    _model, x, _y, result = found((20,), eps=0.2)
    first = int((result.status == int(Status.FOUND)).nonzero()[0, 0])
    change = (result.adversarial - x)[first]
    features = [f"feature {i}" for i in range(20)]
    page = result.take(torch.tensor([first])).show(features=features).text
    shown = re.findall(r'<th scope="row">(feature \d+)</th>', page)
    order = change.abs().argsort(descending=True, stable=True)[: int((change != 0).sum())]
    assert shown == [features[int(i)] for i in order[:12]]
    assert f"{float(change[order[0]]):+.4g}" in page
    assert ("further feature" in page) == (len(order) > 12)


def test_other_inputs_are_refused_in_plain_words() -> None:
    *_, result = found((3, 2, 2, 2))
    with pytest.raises(InputError, match=r"pictures, \(n, channels, height, width\) .* or vectors"):
        result.show()


def test_a_loaded_result_says_what_it_lacks_and_shows_the_same(tmp_path: Path) -> None:
    model, x, y, result = found()
    result.save(tmp_path / "found.safetensors")
    loaded = ib.Result.load(tmp_path / "found.safetensors")
    with pytest.raises(UsageError, match=r"ironbound\.show\(found, model, x, y\)"):
        loaded.show()
    assert ib.show(loaded, model, x, y, threat=ib.Linf(0.1)).text == result.show().text
    with pytest.raises(UsageError, match="7 inputs, and 6 clean ones"):
        ib.show(loaded, model, x[:6], y[:6])


def test_arrays_and_parts_of_results_are_shown(tmp_path: Path) -> None:
    model, x, y, result = found()
    arrays = ib.attack(model, x.numpy(), y.numpy(), threat=ib.Linf(0.1), method="pgd")
    assert arrays.show().text == result.show().text
    some = result.take(torch.tensor([4, 1]))
    drawn = images(some.show().text)
    whole = images(result.show().text)
    assert len(drawn) == 6
    assert all(any(np.array_equal(image, other) for other in whole) for image in drawn)


def test_a_notebook_displays_it_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, result = found()
    elsewhere = result.show()
    assert elsewhere.path is not None
    assert str(elsewhere.path) in repr(elsewhere)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    page = result.show()
    assert page.path is None
    framed = re.fullmatch(r'<iframe srcdoc="([^"]*)" .*></iframe>', page._repr_html_())
    assert framed is not None
    assert unescape(framed[1]) == page.text


def test_fewer_are_shown_where_fewer_are_asked_for() -> None:
    *_, result = found()
    assert len(images(result.show(most=2).text)) == 6


def test_names_are_text_and_no_markup() -> None:
    *_, result = found()
    assert "<script>" not in result.show(names=["<script>alert(1)</script>"] * 3).text


class Dense(nn.Module):
    """An answer for each pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, 1 - x], 1)


def test_models_without_classes_have_no_answers() -> None:
    x = torch.zeros(2, 1, 4, 4)

    class Bare:
        """As much of a Model as a pass needs."""

        def __init__(self) -> None:
            self.device, self.random = torch.device("cpu"), False

        def opened(self, cheap: bool = False):
            from contextlib import nullcontext

            return nullcontext(lambda inputs, rng: Dense()(inputs))

    assert answers(Bare(), x, Rng.of(0, torch.arange(2))) is None
