"""A question as a form in the notebook: choose, commit, run the next cell, and read what your answer was worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

if TYPE_CHECKING:
    from classroom.predictions import Prediction

_HERE = Path(__file__).parent


class Form(anywidget.AnyWidget):
    """A question; its feedback comes when an answer was given and the cells that show it have run, in whichever order.

    Who picks an option and runs the cells has given it, too.
    """

    _esm = _HERE / "form.js"
    _css = _HERE / "form.css"

    question = traitlets.Unicode().tag(sync=True)
    options = traitlets.List(traitlets.Unicode()).tag(sync=True)
    cells = traitlets.Int(1).tag(sync=True)
    picked = traitlets.Int(-1).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    right = traitlets.Bool(False).tag(sync=True)
    feedback = traitlets.Unicode("").tag(sync=True)

    def __init__(self, prediction: "Prediction") -> None:
        super().__init__(question=prediction.question, options=[option.text for option in prediction.options], cells=prediction.cells)
        self._prediction = prediction
        self._to_run = prediction.cells + 1  # with the one in which this form is made
        self.observe(self._tell, names="chosen")
        _shell().events.register("post_run_cell", self._cell_has_run)

    def _cell_has_run(self, *_: Any) -> None:
        self._to_run -= 1
        if not self._to_run:
            _shell().events.unregister("post_run_cell", self._cell_has_run)
            if self.chosen < 0:
                self.chosen = self.picked
            self._tell()

    def _tell(self, *_: Any) -> None:
        if not self._to_run and 0 <= self.chosen < len(self._prediction.options):
            option = self._prediction.options[self.chosen]
            self.right = option.right
            self.feedback = option.feedback


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()
