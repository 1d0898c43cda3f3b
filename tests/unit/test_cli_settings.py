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
        (
            {"samples": "0"},
            "--samples cannot be '0': input should be greater than or equal to 1. It says: how many samples",
        ),
        ({"samples": "many"}, "--samples cannot be 'many'"),
        ({"seed": "1.5"}, "--seed"),
        ({"range": "0"}, "--range cannot be '0': expected LOW,HIGH. It says: lowest and highest"),
        ({"range": "a,b"}, "--range"),
        ({"mean": "x"}, "--mean"),
        ({"outputs": "logic"}, "--outputs"),
        ({"device": "gpu"}, "--device cannot be 'gpu'"),
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


LINES = "model: zoo.py:net\ndata: digits\nthreat: linf:0.1\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("threat: [1\nmodel: x\n", "s.yaml, line 2, is no YAML: while parsing a flow sequence"),
        ("- a\n- b\n", 's.yaml, line 1: lines of "key: value" are expected'),
        ("# nothing\n\njust words\n", 's.yaml, line 3: lines of "key: value" are expected'),
        ("", 's.yaml, line 1: lines of "key: value" are expected'),
        (LINES + "3: 4\n", "s.yaml, line 4: .* 3 is no key"),
        (LINES + "? [a, b]\n: 1\n", "s.yaml, line 4.* is no YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
        ("!!python/object/apply:os.abort []\n", "s.yaml, line 1, is no YAML: could not determine a constructor"),
        (LINES + "\tseed: 1\n", "s.yaml, line 4, is no YAML: .*YAML is indented by spaces, not by tabs"),
        (LINES + "mean:\n  - 0.5\n\t- 0.5\n", "s.yaml, line 6, is no YAML: .*not by tabs"),
        (LINES + "seed: 1\nsamples: 3\nseed: 2\n", "s.yaml, line 6: the key 'seed' is there twice, first in line 4"),
        (LINES + "a-b: 1\na_b: 2\n", "s.yaml, line 5: 'a_b' and 'a-b' are the same key"),
        (LINES + "\nsampels: 3\n", "s.yaml, line 5: there is no key 'sampels'. Did you mean 'samples'"),
        (LINES + "# one\n# two\nsamples: many\n", "s.yaml, line 6: samples cannot be 'many': .*how many"),
        (LINES + "seed: [1, 2]\n", r"s.yaml, line 4: seed cannot be \[1, 2\]"),
        (LINES + "seed: {a: 1}\n", "s.yaml, line 4: seed cannot be {'a': 1}"),
        (LINES + "method:\n- pgd\n- 3\n", "s.yaml, line 6: method cannot be .*valid string"),
        (LINES + "mean:\n  - 0.1\n  - 0.2\n  - x\n", "s.yaml, line 7: mean cannot be .*valid number"),
        (
            LINES + "range: [0, 1, 2]\n",
            "s.yaml, line 4: range cannot be \\[0, 1, 2\\]: expected LOW,HIGH. It says: lowest",
        ),
        (LINES + "outputs: logic\n", "s.yaml, line 4: outputs cannot be 'logic': .* It says: what the network answers"),
        (LINES + "samples: 0\nrows: -1\n", r"line 4: samples cannot be 0: .*; .*line 5: rows cannot be -1"),
        (LINES + "rows: -1\nsamples: 0\n", r"line 4: rows cannot be -1: .*; .*line 5: samples cannot be 0"),
        (LINES + "out: 2026-13-45\n", "is no YAML: month must be in 1..12"),
        (LINES + "out: *nowhere\n", "s.yaml, line 4, is no YAML: found undefined alias 'nowhere'"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(tmp_path, content, said):
    (tmp_path / "s.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=said) as caught:
        settings_of(RunSettings, {}, str(tmp_path / "s.yaml"))
    assert "\n" not in str(caught.value)


def test_a_flag_over_a_file_is_blamed_itself(tmp_path):
    (tmp_path / "s.yaml").write_text(LINES + "samples: 5\nweight-decay: x\n")
    with pytest.raises(UsageError, match=r"^--samples cannot be 'none'"):
        settings_of(RunSettings, {"samples": "none", "seed": "1"}, str(tmp_path / "s.yaml"))
    with pytest.raises(UsageError, match=r"line 5: weight-decay cannot be .* the pull"):
        settings_of(HardenSettings, {}, str(tmp_path / "s.yaml"))
    assert settings_of(HardenSettings, {"weight_decay": "1e-3"}, str(tmp_path / "s.yaml")).weight_decay == 1e-3


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
