"""See what a Celery application does: every attempt, every message, every stored result, live and as a still."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskscope.scope import Scope

__all__ = ["Scope"]


def __getattr__(name: str) -> Any:
    # Late, because the pictures need packages that whoever wants only an X-ray does not have to load.
    if name == "Scope":
        from taskscope.scope import Scope

        return Scope
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
