"""Three shops that tell their stock: for work that needs the answers of several tasks."""

from celery import group

from tutorial_tasks.celery_app import app

_IN_STOCK = {"north": 12, "south": 7, "west": 23}


@app.task
def stock(shop: str) -> int:
    """Tell how much a shop has in stock.

    Raises:
        ValueError: there is no such shop.
    """
    if shop not in _IN_STOCK:
        raise ValueError(f"there is no shop {shop!r}")
    return _IN_STOCK[shop]


@app.task
def wait_for_shops(shops: list[str]) -> int:
    """Ask every shop and wait for all answers here: the mistake that Celery refuses; a chord does without waiting.

    Raises:
        RuntimeError: always on a worker, from `get`; the shops have been asked by then.
    """
    asked = group(stock.s(shop) for shop in shops).delay()
    return sum(asked.get(timeout=10))
