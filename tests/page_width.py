"""Check in a real browser that no page of the documentation, and no code on it, scrolls sideways: give the folder."""

from __future__ import annotations

import sys
from pathlib import Path

import browser

WIDTH = 1400
_WIDER = "[...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)"


def main(folder: Path) -> int:
    """Print the first words of what is too wide, with its page; return the exit code."""
    if browser.find() is None:
        sys.stdout.write("there is no Chromium here, so the widths of pages are not checked\n")
        return 0
    found = []
    pages = sorted(folder.glob("*.html"))
    with browser.Page(WIDTH, 900) as page:
        for path in pages:
            page.send("Page.navigate", url=path.absolute().as_uri())
            page.wait(f"document.readyState === 'complete' && location.href.endsWith('/{path.name}')")
            found += [f"{path.name}: {text.splitlines()[0]}" for text in page.run(_WIDER)]
            wide = page.run("document.documentElement.scrollWidth")
            found += [f"{path.name}: the page itself, {wide} px"] if wide > WIDTH else []
    sys.stdout.write("\n".join([*found, f"{len(pages)} pages, things that scroll sideways: {len(found)}\n"]))
    return bool(found) or not pages


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
