"""Paths that may not leave a root, links followed."""

from __future__ import annotations

import os


def unresolved(path: str) -> str | None:
    """Return why `path` cannot be a path relative to a root, or None."""
    if os.path.isabs(path):
        return "is absolute"
    if "\0" in path or "\n" in path or "\r" in path:
        return "holds a line break or a NUL"
    return None


def real_path(path: str, known: dict[str, str]) -> str:
    """Return `os.path.realpath` of `path`, looking at each folder once.

    `known` holds what was resolved before and must hold the root. A hundred thousand films of one folder
    then cost one `lstat` each, not one for each part of their paths.
    """
    if path in known:
        return known[path]
    parent, name = os.path.split(path)
    if name in ("", ".", "..") or parent == path:
        resolved = os.path.realpath(path)
    else:
        resolved = os.path.join(real_path(parent, known), name)
        if os.path.islink(resolved):
            resolved = os.path.realpath(resolved)
    known[path] = resolved
    return resolved


def is_inside(resolved: str, root: str) -> bool:
    """Return whether the resolved path lies in the resolved `root`."""
    return resolved == root or resolved.startswith(root.rstrip(os.sep) + os.sep)
