"""Send 10,000 rows the way lesson 09 does, and count what came of them: `python -m benchmarks.rows`, or with another number."""

import json
import sys
import time
from collections import Counter

from celery import group

from classroom import lab


def main() -> int:
    """Measure how long the rows take, and fail if one is lost or there twice."""
    rows = [{"number": number} for number in range(int(sys.argv[1]) if sys.argv[1:] else 10_000)]
    lab.connect()
    from tutorial_tasks.projects import create_project
    from tutorial_tasks.settings import data_dir

    file = data_dir / "benchmark_rows.jsonl"
    file.unlink(missing_ok=True)
    start = time.perf_counter()
    sent = group(create_project.s(row, file.name) for row in rows).apply_async()
    published = time.perf_counter() - start
    sent.get(timeout=600)
    done = time.perf_counter() - start
    found = Counter(json.loads(line)["number"] for line in file.read_bytes().splitlines())
    sent.forget()
    file.unlink()
    lost, twice = len(rows) - len(found), found.total() - len(found)
    print(f"{len(rows)} rows: sent in {published:.1f} s, all results after {done:.1f} s; {lost} lost, {twice} there twice")
    return 1 if lost or twice else 0


if __name__ == "__main__":
    sys.exit(main())
