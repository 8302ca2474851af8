"""The command line as a whole."""

import re

from classroom import cli


def test_the_module_lists_the_commands_that_there_are() -> None:
    listed = re.findall(r"[|m] (\w+)(?= [|]|`)", (cli.__doc__ or "").replace("python -m classroom", "m"))
    assert sorted(listed) == sorted(cli.main.commands)
