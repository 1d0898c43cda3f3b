"""Results that nobody gave a place go with what refers to them, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import ironbound as ib
from audit_samples import digits, mlp
from ironbound.core.errors import RunError
from ironbound.core.temporary import Temporary


def there() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("ironbound-*")}


def test_an_audit_without_a_folder_takes_it_along(monkeypatch, tmp_path):
    monkeypatch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [])
    before = there()
    report = ib.audit(mlp(64, 10), digits(8), threat="linf:0.1", method=ib.recipes.fgsm())
    (new,) = there() - before
    assert report.folder.name == new
    details, kept = report.details, report.save(tmp_path / "kept")
    folder = report.folder
    del report
    gc.collect()
    assert len(details.table) >= 8  # which still refers to the run
    del details
    gc.collect()
    assert not folder.exists()
    assert there() == before
    assert kept.verdicts
    assert ib.verify(tmp_path / "kept", mlp(64, 10), digits(8)).holds
    with pytest.raises(RunError, match="already holds a run"):
        kept.save(tmp_path / "kept")
    with pytest.raises(RunError, match="holds other things"):
        kept.save(tmp_path)


def test_a_run_that_fails_leaves_nothing(monkeypatch):
    before = there()
    monkeypatch.setattr("ironbound.auditing.run._pools", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ib.audit(mlp(64, 10), digits(8), threat="linf:0.1", method=ib.recipes.fgsm())
    gc.collect()
    assert there() == before


def test_what_is_kept_stays():
    held = Temporary()
    path = held.path
    held.keep()
    del held
    gc.collect()
    assert path.is_dir()
    path.rmdir()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_at_the_end_of_the_process_and_not_of_one_that_was_forked():
    code = (
        "import os, sys\nfrom ironbound.core.temporary import Temporary\nheld = Temporary()\n"
        "if os.fork() == 0:\n    sys.exit()\nos.wait()\nprint(held.path, held.path.is_dir())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path, stood = done.stdout.split()
    assert stood == "True"
    assert not Path(path).exists()
