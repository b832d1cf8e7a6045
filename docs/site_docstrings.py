"""Extension of griffe, which reads the docstrings for the site."""

import re

from griffe import Extension

# Several names with one description: "low_s, high_s : float".
GROUP = re.compile(r"^(\w+(?:, \w+)+)( : .+)?\n((?: {4}.*(?:\n|\Z))+)", re.MULTILINE)


class Apart(Extension):
    """Give each parameter of a group a description of its own: griffe shows type and default of the first for all."""

    def on_function_instance(self, *, func, **_):
        """Rewrite the docstring of a function."""

        def apart(match):
            names = match[1].split(", ")
            if any(name not in func.parameters for name in names):
                return match[0]
            text = match[3].removesuffix("\n")
            return "".join(f"{name}{match[2] or ''}\n{text}\n" for name in names)

        if func.docstring is not None:
            func.docstring.value = GROUP.sub(apart, func.docstring.value)
