"""What MkDocs does before it builds: documents outside docs/ become pages, and links to them are led there."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).resolve().parents[1]
MEASUREMENTS = sorted(path.relative_to(PROJECT).as_posix() for path in (PROJECT / "benchmarks").glob("*.md"))
OUTSIDE = ["CONTRIBUTING.md", "CHANGELOG.md", "data/sample/README.md", *MEASUREMENTS]
FOLDER = "project"  # of the site, for what stands outside docs/
LINK = re.compile(r"(\]\()([^)\s:#]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the documents that stand outside docs/."""
    for name in OUTSIDE:
        files.append(File.generated(config, f"{FOLDER}/{name}", content=(PROJECT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Lead each link to where its target stands in the site; to a file that is no page, leave the words alone."""
    here = page.file.src_uri
    in_project = here.removeprefix(f"{FOLDER}/") if here.startswith(f"{FOLDER}/") else f"docs/{here}"

    def led(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(in_project), found[2]))
        place = target.removeprefix("docs/") if target.startswith("docs/") else f"{FOLDER}/{target}"
        if files.get_file_from_path(place) is None:
            return found[0]  # MkDocs says what is wrong with it
        return f"{found[1]}{posixpath.relpath(place, posixpath.dirname(here) or '.')}{found[3]}"

    return LINK.sub(led, markdown)
