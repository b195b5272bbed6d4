#!/usr/bin/env python3
"""Builds the docs site with mdBook from the Markdown files that docs/SUMMARY.md names: docs.py MDBOOK

The script copies the files to target/docs/src under their paths, so the originals stay at their places for GitHub.
README.md becomes index.md, and a link to a file that is not a page becomes plain text. Then all links and anchors of
the site are checked.
"""

import html.parser
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUMMARY = ROOT / "docs/SUMMARY.md"
PAGES, SITE = ROOT / "target/docs/src", ROOT / "target/docs/site"
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[((?:`[^`]*`|[^\[\]`])+)\]\(([^)\s]+)\)")


def place(file):
    """Returns the path of a page below target/docs/src."""
    path = file.relative_to(ROOT)
    return path.with_name("index.md") if path.name == "README.md" else path


def adapted(file, pages, base):
    """Returns the text of a Markdown file, with its links changed for a page in the folder `base`."""

    def link(match):
        text, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match.group(0)
        path, _, heading = target.partition("#")
        page = pages.get((file.parent / path).resolve())
        if page is None:
            return text
        up = "../" * len(base.parts)
        return f"[{text}]({up}{page}{'#' + heading if heading else ''})"

    parts = re.split(r"(^```.*?^```$)", file.read_text(), flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


class Page(html.parser.HTMLParser):
    """The ids of a page, and its links."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids.add(named.get("id"))
        link = named.get({"a": "href", "img": "src"}.get(tag))
        if link:
            self.links.append(link)


def dangling():
    """Yields the links of the site that have no target."""
    pages = {file: Page(file.read_text()) for file in SITE.rglob("*.html")}
    for file, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or file.name in ("print.html", "404.html", "toc.html"):
                continue
            target = (file.parent / urllib.parse.unquote(url.path)).resolve() if url.path else file
            heading = urllib.parse.unquote(url.fragment)
            if not target.exists() or heading and heading not in pages[target].ids:
                yield f"{file.relative_to(SITE)}: there is no {link}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    files = [(SUMMARY.parent / target).resolve() for _, target in LINK.findall(SUMMARY.read_text())]
    pages = {file: place(file) for file in files}
    shutil.rmtree(ROOT / "target/docs", ignore_errors=True)
    for file, page in pages.items():
        target = PAGES / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(adapted(file, pages, page.parent))
        for image in IMAGE.findall(file.read_text()):
            (target.parent / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.parent / image, target.parent / image)
    (PAGES / "SUMMARY.md").write_text(adapted(SUMMARY, pages, pathlib.Path()))
    subprocess.run([sys.argv[1], "build", ROOT / "docs"], check=True)
    problems = sorted(dangling())
    sys.exit("\n".join(problems) if problems else print(f"docs: {SITE / 'index.html'}"))


if __name__ == "__main__":
    main()
