"""Print ``constraints.txt``: the versions, in this environment, of all that the project needs and nothing else.

    .venv/bin/python scripts/constraints.py > constraints.txt

The closure of the project's requirements with the extra ``dev``, so that what else was installed here stays out. Local
versions (torch's ``+cpu``) lose their mark: which build of torch is taken is decided at set-up.
"""

import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = "wsdm-arena"


def closure(project: str, extras: frozenset[str]) -> dict[str, str]:
    """Version of everything that ``project[extras]`` requires, by normalised name, itself left out.

    Raises:
        importlib.metadata.PackageNotFoundError: Something required is not installed.
    """
    asked: dict[str, frozenset[str]] = {}
    waiting = [(project, extras)]
    while waiting:
        name, wanted = waiting.pop()
        key = canonicalize_name(name)
        known = asked.get(key)
        if known is not None and wanted <= known:
            continue
        asked[key] = wanted | (known or frozenset())
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            contexts = [{"extra": extra} for extra in ("", *asked[key])]
            if requirement.marker is None or any(requirement.marker.evaluate(each) for each in contexts):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return {name: Version(metadata.version(name)).public for name in sorted(asked) if name != project}


if __name__ == "__main__":
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    lines = [f"# Tried together on Python {version}; written by scripts/constraints.py."]
    lines += [f"{name}=={version}" for name, version in closure(PROJECT, frozenset({"dev"})).items()]
    sys.stdout.write("\n".join(lines) + "\n")
