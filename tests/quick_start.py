"""Loaded before all other plugins: nothing that these tests look at needs what is left out here.

nbformat has notebooks checked by jsonschema, which, where it finds rfc3987_syntax, builds 38 grammars of web addresses
in every process that imports it. No notebook's schema asks for one.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # Python's own word for "not to be imported"
