"""The attributions that a run keeps, and how its report shows them."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import ironbound as ib
from audit_samples import PGD, Drawing, Wrap, data_of, digits, digits_net, drawn, edited, labelled, mlp, reseal
from ironbound.auditing import attributions as module
from ironbound.auditing.attributions import FILE, MOST, REASONS, attributed, contradicted, wanted_methods
from ironbound.auditing.audit import Audit
from ironbound.auditing.report.render import ATTRIBUTED, render, render_many
from ironbound.cli.completing import KNOWN
from ironbound.cli.settings import RunSettings, settings_of
from ironbound.core.errors import UnknownName, UsageError
from ironbound.core.store import read_tensors, write_tensors
from ironbound.explaining.attribution import CAPTUM, METHODS
from ironbound.showing.attributions import AGAINST, FOR, Attributed, Map, heat, marks, panels
from ironbound.showing.page import IMAGE_BYTES
from report_samples import audit, picture

MINUS = "\u2212"
HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return ib.audit(
        digits_net(), digits(60), threat="linf:0.1", method=PGD, out=tmp_path_factory.mktemp("runs") / "run"
    )


def section(page: str) -> str:
    """The section of the page, as it stands in it."""
    start = page.index('aria-labelledby="a1-attributions"')
    return page[start : page.index("</section>", start)]


def sample(
    index: int = 0, label: str = "7", rival: str = "3", shape: tuple[int, ...] = (3, 16, 16), **facts: Any
) -> Attributed:
    value = lambda seed: drawn(*shape, seed=seed) - 0.5
    maps = tuple(Map(name, value(index), value(index + 1), 0.5, 0.25) for name in ("gradient", "integrated"))
    chosen: dict[str, Any] = {
        "clean": drawn(*shape, seed=2),
        "adversarial": drawn(*shape, seed=3),
        "scores": (2.5, -0.75),
        "maps": maps,
    }
    return Attributed(index=index, label=label, rival=rival, **(chosen | facts))


def told(**facts: Any) -> Any:
    """An invented audit that says that it has attributions."""
    alike = {name: {"cosine": 0.5, "rank": None} for name in ("gradient", "integrated")}
    said = {
        "methods": list(alike),
        "samples": 1,
        "steps": 32,
        "baseline": 0.0,
        "forward": 71,
        "backward": 66,
        "gap": 0.01,
        "alike": alike,
    }
    return {**audit(), "attributions": {**said, **facts}}


# --------------------------------------------------------------------------------------------------- what a run keeps
def test_a_run_keeps_attributions_of_its_witnesses(run: Audit) -> None:
    facts, tables = run.facts["attributions"], read_tensors(run.folder / FILE)[0]
    assert facts["methods"] == ["gradient", "integrated"]
    assert 2 <= facts["samples"] == len(tables["index"]) <= MOST
    broken = {i for i, verdict in zip(run.details.index.tolist(), run.verdicts, strict=True) if verdict == "broken"}
    assert set(tables["index"].tolist()) <= broken & {picture.index for picture in run.pictures}
    net, n = digits_net(), facts["samples"]
    for side in ("clean", "adversarial"):
        x, y, rival = tables[side], tables["label"], tables["rival"]
        out = net(x).detach()
        margin = out.gather(1, y[:, None])[:, 0] - out.gather(1, rival[:, None])[:, 0]
        torch.testing.assert_close(tables["score"][side], margin.double(), atol=1e-4, rtol=1e-4)
        assert bool(((margin > 0) == (side == "clean")).all())
        for name in facts["methods"]:
            again = ib.attribute(net, x, y, against=rival, method=name).values
            torch.testing.assert_close(tables[name][side], again, atol=1e-5, rtol=1e-4)
    assert 0 < facts["gap"] < 0.05
    # two inputs a sample: gradients at one point; 32 points, both ends; and once what the witness is taken for
    assert (facts["forward"], facts["backward"]) == (n + 2 * n * (1 + 32 + 2), 2 * n * (1 + 32))


def test_they_are_given_back_and_seen_by_verify(run: Audit, tmp_path: Path) -> None:
    assert [one.index for one in run.attributed] == read_tensors(run.folder / FILE)[0]["index"].tolist()
    assert section(run.to_html()) == section((run.folder / "report.html").read_text())
    check = lambda folder: ib.verify(folder, digits_net(), digits(60))
    assert check(run.folder).holds
    copy = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    tables, notes = read_tensors(copy / FILE)
    write_tensors(
        copy / FILE, {**tables, "gradient": {**tables["gradient"], "clean": -tables["gradient"]["clean"]}}, notes
    )
    assert check(copy).failures == [f"{FILE} was altered or taken away since the run finished"]
    reseal(copy)  # as a forger would
    assert check(copy).failures == ["audit.json: 'attributions' does not follow from the stored ones"]
    (copy / FILE).unlink()
    reseal(copy)
    assert check(copy).failures == [f"{FILE} is missing, and audit.json says otherwise"]
    edited(copy / "audit.json", lambda facts: facts.pop("attributions"))
    assert check(copy).holds
    assert Audit.load(copy).attributed == []
    assert "a1-attributions" not in Audit.load(copy).to_html()


def test_they_name_no_samples_that_were_not_broken(run: Audit) -> None:
    said = json.loads(json.dumps(run.facts))
    assert contradicted(run.folder, said, {one.index for one in run.attributed}) == []
    assert contradicted(run.folder, said, set())
    said["attributions"] = {"left_out": "."}
    assert contradicted(run.folder, said, set()) == [f"{FILE} is there, and audit.json says otherwise"]


def test_they_are_switched_off_and_on_by_resuming(tmp_path: Path) -> None:
    net, x = mlp(8, 3), drawn(6, 8)
    data = data_of(x, labelled(net, x))
    again = lambda **options: ib.audit(
        net, data, threat="linf:0.5", method=PGD, out=tmp_path / "run", resume=True, **options
    )
    found = again(attributions=["integrated"])
    assert found.facts["attributions"]["methods"] == ["integrated"]
    off = again(attributions="none")
    assert "attributions" not in off.facts
    assert not (tmp_path / "run" / FILE).exists()
    assert off.verdicts == found.verdicts
    assert ib.verify(off.folder, net, data).holds


def test_names_are_checked_before_anything_runs(tmp_path: Path) -> None:
    assert wanted_methods(None) == wanted_methods("gradient, Integrated,gradient") == ("gradient", "integrated")
    assert wanted_methods("none") == wanted_methods(()) == wanted_methods(("none",)) == ()
    with pytest.raises(UsageError, match="'none', or names"):
        wanted_methods("none,gradient")
    with pytest.raises(UnknownName, match="Did you mean 'gradient'"):
        ib.audit(digits_net(), digits(4), threat="linf:0.1", out=tmp_path / "run", attributions="gradiant")
    assert not (tmp_path / "run").exists()


def test_masked_gradients_miss_the_whole_sum_and_are_said_not_to_matter() -> None:
    """A step in place of each logit: the score changes, and no gradient says so."""
    net = Wrap(mlp(8, 3), lambda out: out.round() + 0 * out)
    found = ib.attribute(net, drawn(40, 8), 0, against=1, baseline=0.0)
    assert not bool(found.values.any())
    shares = module.missing_shares(found)
    assert set(shares) <= {0.0, 1.0}
    assert 1.0 in shares


class Breakable(nn.Module):
    """A net that fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.broken = mlp(64, 3), False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.broken:
            raise RuntimeError("a user's own\nfailure")
        return self.net(x)


def test_a_failure_is_a_sentence_and_spoils_no_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, real = Breakable(), drawn(8, 1, 8, 8), module.attribute

    def failing(*args: Any, **options: Any) -> Any:
        net.broken = True
        try:
            return real(*args, **options)
        finally:
            net.broken = False

    monkeypatch.setattr(module, "attribute", failing)
    found = ib.audit(net, data_of(x, labelled(net, x)), threat="linf:0.5", method=PGD, out=tmp_path / "run")
    assert found.facts["attributions"] == {"left_out": "They could not be made: RuntimeError: a user's own failure"}
    assert "a user&#39;s own failure" in section(found.to_html())
    assert ib.verify(found.folder, net, data_of(x, labelled(net, x))).holds


def test_what_they_cannot_be_made_of_is_said(tmp_path: Path) -> None:
    audited = lambda name, net, x, y, **options: ib.audit(
        net, data_of(x, y), threat=options.pop("threat", "linf:0.5"), method=PGD, out=tmp_path / name, **options
    ).facts["attributions"]
    x, net = drawn(3, 1, 8, 8), mlp(64, 3)
    assert audited("held", net, x, labelled(net, x), threat="linf:0") == {"left_out": REASONS["none"]}
    sound = drawn(3, 2, 8, 4)
    assert audited("kind", net, sound, labelled(net, sound)) == {"left_out": REASONS["kind"]}
    drawing = ib.Model(Drawing(net, 0.01), random=True)
    assert audited("random", drawing, x, labelled(net, x)) == {"left_out": REASONS["model"]}


def test_vectors_have_the_features_that_matter_most(tmp_path: Path) -> None:
    net = nn.Linear(10, 2)
    with torch.no_grad():
        net.weight.copy_(torch.stack([torch.zeros(10), torch.arange(10.0)]))
        net.bias.copy_(torch.tensor([25.0, 0.0]))
    x = drawn(12, 10)
    named = [HOSTILE, *"bcdefghij"]
    found = ib.audit(
        Wrap(net, lambda out: out), data_of(x, labelled(net, x)), threat="linf:0.5", method=PGD, out=tmp_path / "run",
        origin={"data": {"input": named}},
    )  # fmt: skip
    one = found.attributed[0]
    assert one.features == tuple(named)
    tables = next(panels([one], 0))["tables"]
    assert [row["name"] for row in tables[0]["rows"]] == [*"jihgfe"]  # by weight, which is the gradient
    assert tables[0]["further"] == 4
    sign = 1 if one.label == "1" else -1
    assert [part[0] for part in tables[0]["rows"][0]["parts"]] == [9 * sign, 9 * sign]
    shares = {row["name"]: [part[0] for part in row["parts"]] for row in tables[1]["rows"]}
    assert shares["j"] == pytest.approx([9 * sign * float(one.clean[9]), 9 * sign * float(one.adversarial[9])])
    assert one.maps[0].cosine == pytest.approx(1.0)
    text = section(found.to_html())
    assert "Marks stand on" not in text
    assert f"</svg>{'+' if sign > 0 else MINUS}9</td>" in text


# ----------------------------------------------------------------------------------------------------- how it is shown
def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_heat_map_has_the_sign_as_hue_and_the_size_as_opacity() -> None:
    image = decoded(heat(torch.tensor([[1.0, -0.5], [0.0, 7.0]])))
    assert (image.mode, image.size) == ("RGBA", (2, 2))
    assert list(image.get_flattened_data() if hasattr(image, "get_flattened_data") else image.getdata()) == [
        (*FOR, 255), (*AGAINST, 128), (*FOR, 0), (*FOR, 255),
    ]  # fmt: skip


def test_the_strongest_places_are_marked_with_their_signs() -> None:
    values = torch.zeros(32, 16)
    values[0, 0], values[31, 15], values[16, 8] = -2.0, 8.0, 1.0
    assert [(mark["x"], mark["y"], mark["sign"]) for mark in marks(values)] == [
        (93.75, 93.75, "+"), (6.25, 6.25, "\u2212"), (56.25, 56.25, "+"),
    ]  # fmt: skip
    assert marks(torch.zeros(4, 4)) == []


def test_the_words_say_what_the_map_shows() -> None:
    values = torch.zeros(1, 9, 9)
    values[0, 0, 0], values[0, 4, 4] = 3.0, -1.0
    nothing = torch.zeros(1, 9, 9)
    one = sample(shape=(1, 9, 9), maps=(Map("gradient", values, nothing, float("nan"), float("nan")),))
    clean, witness = (side["heats"][0]["lines"] for side in next(panels([one], IMAGE_BYTES))["sides"])
    assert clean == ["+ 75% for 7, upper left", "\u2212 25% for 3, centre"]
    assert witness == ["no value matters"]
    text = section(render(told(), [], [one]))
    assert "cosine not defined, rank not defined" in text
    assert "+ 75% for 7, upper left<br> \u2212 25% for 3, centre" in text


def test_both_rows_of_a_method_share_a_scale() -> None:
    strong, weak = torch.full((1, 4, 4), 2.0), torch.full((1, 4, 4), 1.0)
    side = next(panels([sample(shape=(1, 4, 4), maps=(Map("gradient", strong, weak, 1.0, 1.0),))], IMAGE_BYTES))[
        "sides"
    ]
    opaque = [decoded(each["heats"][0]["image"]).getpixel((0, 0))[3] for each in side]
    assert opaque == [255, 128]


def test_hostile_names_stay_text() -> None:
    page = render(told(), [], [sample(label=HOSTILE, rival=HOSTILE)])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;" in section(page)
    vector = sample(label=HOSTILE, rival=HOSTILE, shape=(3,), features=(HOSTILE, "b", "c"))
    page = render(told(), [], [vector])
    assert "<script" not in page
    assert section(page).count("&lt;script&gt;") >= 6
    left_out = {**audit(), "attributions": {"left_out": HOSTILE}}
    assert "<script" not in render(left_out, [])


def test_large_pictures_are_drawn_small_and_the_room_holds() -> None:
    large = [sample(i, shape=(3, 400, 300)) for i in range(8)]
    shown = list(panels(large, IMAGE_BYTES))
    assert len(shown) == 8
    assert sum(panel["bytes"] for panel in shown) < IMAGE_BYTES // ATTRIBUTED
    few = list(panels(large, 2 * shown[0]["bytes"] + 10_000))
    assert len(few) == 2
    gallery = [picture(i, shape=(3, 300, 300)) for i in range(12)]
    assert len(render(told(), gallery, large).encode()) < IMAGE_BYTES + 500_000
    assert "2 further samples left out" in render_many("x", [("x", told(), [])] * 8, [large[:3], *[[]] * 7])
    assert "8 further samples left out" in render_many("x", [("x", told(), [])] * 16, [large, *[[]] * 15])


def test_a_run_without_them_has_no_section() -> None:
    assert "a1-attributions" not in render(audit(), [picture()])
    assert attributed(Path("nowhere"), {}) == []
    said = render({**audit(), "attributions": {"left_out": "Because of this."}}, [])
    assert "Because of this." in section(said)
    assert "<img" not in section(said)


def test_the_prompt_completes_their_names() -> None:
    assert set(KNOWN["attribution"]) == {"none", *METHODS, *(f"captum:{name}" for name in CAPTUM)}


def test_the_prompt_says_which() -> None:
    needed = {"model": "m.py:f", "data": "digits", "threat": "linf:0.1"}
    assert wanted_methods(settings_of(RunSettings, needed).attributions) == METHODS
    assert wanted_methods(settings_of(RunSettings, {**needed, "attributions": "none"}).attributions) == ()
    assert (
        wanted_methods(settings_of(RunSettings, {**needed, "attributions": "integrated, Gradient"}).attributions)
        == METHODS[::-1]
    )
