"""Result files: their folder, and the newest of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def free_path(folder: Path, stem: str) -> Path:
    """Return the path ``stem.json``, with a number if that exists: a measurement is never overwritten."""
    path, number = folder / f"{stem}.json", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.json", number + 1
    return path


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a result file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".json.part")
    draft.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


def read(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def is_comparison(result: dict[str, Any]) -> bool:
    """Return True if this is a comparison of contenders; other instruments write their results here, too."""
    return any("contenders" in row for row in result.get("rows", ()))


def newest(folder: Path = FOLDER) -> Path | None:
    """Return the file with the latest start, by its own field (a checkout changes the dates of files)."""
    found = {path: read(path) for path in folder.glob("*.json")}
    started = {path: result.get("started", "") for path, result in found.items() if is_comparison(result)}
    return max(started, key=lambda path: started[path]) if started else None
