"""Results that nobody gave a place are there until the process ends."""

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
from ironbound.auditing.audit import Audit
from ironbound.core.errors import RunError


def there() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("ironbound-*")}


def test_an_audit_without_a_folder_is_there_and_can_be_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("ironbound.auditing.audit.run_checks", lambda *_: [])
    before = there()
    folder = ib.audit(mlp(64, 10), digits(8), threat="linf:0.1", method=ib.recipes.fgsm()).folder
    gc.collect()
    assert there() - before == {folder.name}  # though nothing but its path is referred to
    kept = Audit.load(folder).save(tmp_path / "kept")
    assert kept.verdicts
    assert ib.verify(tmp_path / "kept", mlp(64, 10), digits(8)).holds
    with pytest.raises(RunError, match="already holds a run"):
        kept.save(tmp_path / "kept")
    with pytest.raises(RunError, match="holds other things"):
        kept.save(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_it_goes_at_the_end_of_the_process_and_not_of_one_that_was_forked():
    code = (
        "import os, sys\nfrom ironbound.core.temporary import keep, temporary_folder\n"
        "held, kept = temporary_folder(), temporary_folder()\nkeep(kept)\n"
        "if os.fork() == 0:\n    sys.exit()\nos.wait()\nprint(held, held.is_dir(), kept)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path, stood, kept = done.stdout.split()
    assert stood == "True"
    assert not Path(path).exists()
    assert Path(kept).is_dir()
    Path(kept).rmdir()
