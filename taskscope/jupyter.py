"""A Jupyter server whose notebooks open with stills where a live picture's kernel is gone.

jupyter lab --ServerApp.contents_manager_class=taskscope.jupyter.ContentsWithStills
"""

from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from taskscope.contents import without_dead_widgets


class ContentsWithStills(AsyncLargeFileManager):
    """The files of a Jupyter server as they always are, but for widgets of ours that no process feeds any more."""

    async def get(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Return a file or folder, a notebook without dead widgets."""
        model = await super().get(path, *args, **kwargs)
        if model["type"] == "notebook" and model["content"]:
            without_dead_widgets(model["content"])
        return model
