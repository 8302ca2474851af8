"""JupyterLab without two seconds of its start: `python -m classroom.quick_start`, with the arguments of `jupyter lab`.

JupyterLab and nbformat check JSON with jsonschema, which builds 38 grammars of web addresses where it finds rfc3987_syntax, in
each process that imports it. No schema of theirs asks for one. The tests load this module first, for the same reason.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # Python's own word for "not to be imported"

if __name__ == "__main__":
    from jupyterlab.labapp import main

    sys.exit(main())
