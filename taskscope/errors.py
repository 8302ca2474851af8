"""The one kind of error that taskscope raises on purpose."""


class ScopeError(Exception):
    """Something is wrong, and there is a next thing to type.

    Args:
        problem: what is wrong, in one sentence.
        remedy: what to type or do next.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  next: {self.remedy}"

    def _render_traceback_(self) -> list[str]:
        """Show a notebook the message alone (IPython asks an exception for this before it prints one)."""
        return [f"ScopeError: {self}"]
