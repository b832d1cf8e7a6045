"""Extension of griffe, which reads the docstrings for the site: rewrites them as the site can show them."""

import re

from griffe import Extension

# Several names with one description: "low_s, high_s : float".
GROUP = re.compile(r"^(\w+(?:, \w+)+)( : .+)?\n((?: {4}.*(?:\n|\Z))+)", re.MULTILINE)
# What reStructuredText puts before a literal block.
LITERAL = re.compile(r"^::\n\n|(?<=:):(?=\n\n {4})", re.MULTILINE)


def apart(match):
    """Describe each name of a group apart: griffe would show type and default of the first for all, or one name."""
    text = match[3].removesuffix("\n")
    return "".join(f"{name}{match[2] or ''}\n{text}\n" for name in match[1].split(", "))


class Docstrings(Extension):
    """Rewrites each docstring."""

    def on_instance(self, *, obj, **_):
        """Rewrite the docstring of a function, a class or a module."""
        if obj.docstring is not None:
            obj.docstring.value = GROUP.sub(apart, LITERAL.sub("", obj.docstring.value))
