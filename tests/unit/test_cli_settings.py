"""Settings from files and flags: one set of keys, errors that name the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ironbound.cli.opening import open_given
from ironbound.cli.settings import AttackSettings, HardenSettings, RunSettings, VerifySettings, settings_of
from ironbound.core.errors import UsageError

NEEDED = {"model": "zoo.py:net", "data": "digits", "threat": "linf:0.1"}


def test_flags_are_read_as_text():
    found = settings_of(
        RunSettings, {**NEEDED, "range": "0,255", "mean": "0.1, 0.2", "samples": "20", "seed": "-1", "input": "a,b"}
    )
    assert found.range == (0.0, 255.0)
    assert found.mean == (0.1, 0.2)
    assert (found.samples, found.seed, found.input) == (20, -1, ("a", "b"))
    assert settings_of(RunSettings, {**NEEDED, "range": "none", "samples": "all"}).range is None
    assert settings_of(RunSettings, {**NEEDED, "samples": "all"}).samples is None
    assert settings_of(AttackSettings, {**NEEDED, "method": "pgd,apgd"}).method == ("pgd", "apgd")
    assert settings_of(AttackSettings, NEEDED).method == ("pgd",)


def test_a_file_and_flags_over_it(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "model: zoo.py:net\ndata: digits\nthreat: linf:0.1\nrange: [0, 255]\nmethod: [pgd, apgd]\n"
        "mean: 0.5\nsamples: 10\nresume: true\ninput: x\n"
    )
    found = settings_of(AttackSettings, {"samples": "30"}, str(tmp_path / "s.yaml"))
    assert (found.samples, found.range, found.method) == (30, (0.0, 255.0), ("pgd", "apgd"))
    assert (found.mean, found.resume, found.input) == ((0.5,), True, ("x",))
    (tmp_path / "h.yaml").write_text("model: z.py:n\ndata: digits\nthreat: l2:1\nweight-decay: 1e-3\nsteps: 3\n")
    assert settings_of(HardenSettings, {}, str(tmp_path / "h.yaml")).of_training() == {"weight_decay": 1e-3, "steps": 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metod": "pgd"}, "there is no key 'metod'. Did you mean 'method'?"),
        ({"samples": "0"}, "--samples is how many samples"),
        ({"samples": "many"}, "got 'many'"),
        ({"seed": "1.5"}, "--seed"),
        ({"range": "0"}, "--range is lowest and highest"),
        ({"range": "a,b"}, "--range"),
        ({"mean": "x"}, "--mean"),
        ({"outputs": "logic"}, "--outputs"),
        ({"device": "gpu"}, "--device is cpu, cuda"),
        ({"rows": "-1"}, "--rows"),
        ({"method": ""}, "--method"),
        ({"threat": None}, "--threat"),
        ({"resume": "perhaps"}, "--resume"),
    ],
)
def test_errors_name_the_key(change, said):
    with pytest.raises(UsageError) as caught:
        settings_of(RunSettings, {**NEEDED, **change})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_everything_that_is_missing_is_said_at_once():
    with pytest.raises(UsageError, match=r"--model is missing.*--data is missing.*--threat is missing"):
        settings_of(RunSettings, {})
    assert settings_of(VerifySettings, {}).model is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"threat: [1", "is no YAML"),
        (b"- a\n- b\n", 'lines of "key: value" are expected'),
        (b"3: 4\n", "are expected"),
        (b"", "are expected"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"!!python/object/apply:os.abort []\n", "is no YAML"),
    ],
)
def test_files_that_are_no_settings(tmp_path, content, said):
    (tmp_path / "s.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        settings_of(RunSettings, NEEDED, str(tmp_path / "s.yaml"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        settings_of(RunSettings, NEEDED, str(tmp_path / "none.yaml"))


def test_every_key_has_words_and_a_shape_for_the_help():
    for kind in (RunSettings, HardenSettings, VerifySettings):
        for name, field in kind.model_fields.items():
            assert field.description, name
            assert isinstance(field.json_schema_extra, dict), name


# ------------------------------------------------------------------------------------------- what a training is given
def harden_settings(**keys: Any) -> HardenSettings:
    return HardenSettings(**{"model": "zoo.py:net", "data": "digits", "threat": "linf:0.1", **keys})


def test_further_settings_of_a_training() -> None:
    said = harden_settings(
        epochs=3, set="temperature=40, kind=ard,attacks=fgsm+r-fgsm,frozen=yes,earlier-epochs=2,rate=1e-3"
    )
    assert said.of_training() == {
        "epochs": 3, "temperature": 40, "kind": "ard", "attacks": ("fgsm", "r-fgsm"), "frozen": True, "earlier_epochs": 2,
        "rate": 1e-3,
    }  # fmt: skip
    for text in ("temperature", "=40", "kind="):
        with pytest.raises(UsageError, match="--set is NAME=VALUE"):
            harden_settings(set=text).of_training()


def test_other_networks_are_opened_as_the_model_is(tmp_path: Path) -> None:
    from cli_samples import write_zoo

    zoo = f"{write_zoo(tmp_path) / 'zoo.py'}:net"
    weights = str(tmp_path / "net.safetensors")
    given = open_given(
        harden_settings(
            model=zoo, mean="0.5", std="0.25", range="0,2", teacher=zoo, teacher_weights=weights,
            held_out_model=f"{zoo},{zoo}", held_out_weights=f"{weights},{weights}", start_from=weights, labelled="50",
        )
    )  # fmt: skip
    assert given["teacher"].box == (0.0, 2.0)
    assert given["teacher"].module.std.tolist() == [0.25]
    assert len(given["models"]) == 2
    assert (given["source"], given["labelled"], given["unlabelled"]) == (weights, 50, None)
    with pytest.raises(UsageError, match="--teacher-weights are those of --teacher"):
        open_given(harden_settings(model=zoo, teacher_weights=weights))
    with pytest.raises(UsageError, match="1 files for 2 networks"):
        open_given(harden_settings(model=zoo, held_out_model=f"{zoo},{zoo}", held_out_weights=weights))
