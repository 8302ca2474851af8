"""A thousand batches of ten, handed in by eight clients: every sum is right, and every pair ran once."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskscope import Scope
from tests.batch_api.serving import Pairs, serving

BATCHES, SIZE, CLIENTS = 1000, 10, 8


@pytest.mark.long
def test_a_thousand_batches_of_ten(app: Any) -> None:
    chance = random.Random()
    first = chance.randint(0, 2**30)
    # Two in three of the pairs stand in another batch, too.
    batches: list[Pairs] = [[(first, chance.randint(0, BATCHES * SIZE // 3)) for _ in range(SIZE)] for _ in range(BATCHES)]
    scope = Scope(app)
    try:
        with serving() as api, ThreadPoolExecutor(CLIENTS) as clients:
            receipts = list(clients.map(api.submit, batches))
            for pairs, receipt in zip(batches, receipts, strict=True):
                assert api.finish(receipt.headers["location"])["results"] == [a + b for a, b in pairs]
        scope.settle()
        runs = [task for task in scope.tasks() if task.name == "tutorial_tasks.batches.add_pair"]
        assert len(runs) == len({pair for pairs in batches for pair in pairs})
    finally:
        scope.close()
