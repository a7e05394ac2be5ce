"""Links between the documents lead somewhere: the file is there, and so is the heading."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from tidy.tree import ROOT, text_files

LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def dead_links(root: Path) -> Iterator[str]:
    """Name each link whose file or heading does not exist."""
    for path in text_files(root, ".md"):
        text = CODE.sub("", FENCE.sub("", path.read_text()))
        for target in LINK.findall(text):
            if REMOTE.match(target):
                continue
            file_name, _, heading = unquote(target).partition("#")
            linked = (path.parent / file_name).resolve() if file_name else path
            where = f"{path.relative_to(root)}: {target}"
            if not linked.exists():
                yield f"{where}: no such file"
            elif heading and linked.suffix == ".md" and heading not in anchors(linked):
                yield f"{where}: no such heading"


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as the forges make them."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", path.read_text())):
        kept = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        twin = next(n for n in range(len(found) + 1) if _numbered(kept, n) not in found)
        found.add(_numbered(kept, twin))
    return found


def _numbered(anchor: str, twin: int) -> str:
    return f"{anchor}-{twin}" if twin else anchor


def test_links_between_documents_are_alive() -> None:
    assert list(dead_links(ROOT)) == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# The `core`, in Rust\n# Twice\n## Twice\n")
    (tmp_path / "a.md").write_text(
        "[ok](docs/b.md) [ok](docs/b.md#the-core-in-rust) [ok](docs/b.md#twice-1) [ok](docs)\n"
        "[ok](https://example.com/none) `[code](none.md)`\n\n```\n[code](none.md)\n```\n"
        "[dead](docs/none.md) [dead](docs/b.md#thrice)\n"
    )
    assert list(dead_links(tmp_path)) == [
        "a.md: docs/none.md: no such file",
        "a.md: docs/b.md#thrice: no such heading",
    ]
