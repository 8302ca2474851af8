"""Three shops that tell their stock: work that needs the answers of several tasks."""

from celery import group

from tutorial_tasks.celery_app import app

_IN_STOCK = {"east": 12, "south": 7, "west": 23}


@app.task
def stock(shop: str) -> int:
    """Tell how much a shop has in stock.

    Raises:
        ValueError: there is no such shop.
    """
    if shop not in _IN_STOCK:
        raise ValueError(f"there is no shop {shop!r}")
    return _IN_STOCK[shop]


# How not to do it: Celery raises a RuntimeError when a task waits for others. Send `chord(shops, total.s())` instead.
@app.task
def wait_for_shops(shops: list[str]) -> int:
    """Ask every shop, wait for all the answers, and add them up."""
    asked = group(stock.s(shop) for shop in shops).delay()
    return sum(asked.get(timeout=10))
