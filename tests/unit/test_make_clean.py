"""`make clean` removes what can be made again, and nothing that a learner has made."""

import shutil
import subprocess
from pathlib import Path

from tests.stack.processes import ROOT

MINE = ["data/report.json", "data/__pycache__/theirs", "notebooks/my_tasks.py", "docker/.env", ".classroom/passed/00.1"]
MADE = [".venv/.installed", ".classroom/worker.log", ".classroom/workspaces/flower", ".ruff_cache/x", "notebooks/__pycache__/my_tasks.pyc"]


def test_make_clean_leaves_what_is_the_learner_s(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in MINE + MADE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    subprocess.run(["make", "--no-print-directory", "clean"], cwd=tmp_path, timeout=30, check=True)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted(["Makefile", *MINE])
