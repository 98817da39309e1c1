"""The documentation site: `make docs` builds it into build/docs. Pages are the same files that GitHub shows."""

import importlib
import json
import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.inspect import signature, stringify_signature
from sphinx.util.osutil import relative_uri

from mindefense import __version__
from mindefense.reports.report import OLDEST, write_report
from mindefense.reports.results import SCHEMA_VERSION

project = "mindefense"
author = "the mindefense authors"
copyright = f"2026, {author}. Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx_argparse_cli"]
source_suffix = {".md": "markdown"}

# Markdown. Links between pages are relative paths, as GitHub wants them; headings are anchors down to the third level.
myst_heading_anchors = 3
smartquotes_action = "D"  # " -- " becomes a dash; quotes stay as they are

# Docstrings. Names in single backticks are links where they are ours, and code where not. Types are in the signature.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # or every construct() would say what MindSpore says of Cell
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Inputs", "Outputs", "Supported Platforms", "Source"]  # MindSpore's, and ours

# References are checked (`-n`) where they can be ours: what begins with mindefense, and names with a capital in
# backticks. Other words in backticks may be arguments, and names of other packages are not looked up (the site builds
# without a network). Left out are values that are used inside one package alone.
CAPITAL = r"[A-Z]+[a-z]"
nitpick_ignore_regex = [
    ("py:obj", rf"(?!mindefense\b(?! )|{CAPITAL}).*"),
    ("py:(class|exc)", r"(?!mindefense\b).*"),
    ("py:class", r"mindefense\.(progress|evaluation\.facts|study\.presets)\..*"),
]

html_theme = "furo"
html_title = "mindefense"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    # MindSpore's blue, dark enough to be read on white and light enough on black.
    "light_css_variables": {"color-brand-primary": "#0a59d0", "color-brand-content": "#0a59d0"},
    "dark_css_variables": {"color-brand-primary": "#6cb2ff", "color-brand-content": "#6cb2ff"},
}

# The button copies commands, without their prompt and what they print.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

DOCS = Path(__file__).parent
PAGES_OF = {"README.md": "index", "CHANGELOG.md": "changelog"}
"""Files above this folder that a page of the site stands for."""


# These packages load their names when they are first used; autodoc needs all of them loaded.
LAZY = ("attacks", "defenses", "evaluation", "serving", "study", "targets")
for package in map(importlib.import_module, (f"mindefense.{name}" for name in LAZY)):
    vars(package).update({name: getattr(package, name) for name in package.__all__})


def show_arguments(app: Sphinx, what: str, name: str, shown: object, options: object, args: str, returns: str | None):
    """A Cell takes the arguments of its `__init__`; MindSpore's own `__new__` hides them."""
    if what == "class" and args == "(*args, **kwargs)":
        return stringify_signature(signature(shown.__init__, bound_method=True), unqualified_typehints=True), returns
    return None


def find_capitals(app: Sphinx, tree: nodes.document) -> None:
    """Names with a capital in docstrings are looked for in every module: each is there once."""
    for link in tree.findall(addnodes.pending_xref):
        if link.get("reftype") == "obj" and re.match(CAPITAL, link["reftarget"]):
            link["refspecific"] = True


def link_into_site(app: Sphinx, tree: nodes.document) -> None:
    """Links to Markdown above this folder lead to the page that stands for it, or to a download of the file."""
    for link in list(tree.findall(addnodes.pending_xref)):
        file = Path(f"{link['reftarget']}.md")
        if link.get("refdomain") == "doc" and file.is_absolute() and file.is_file():
            if file.name in PAGES_OF and file.parent == DOCS.parent:
                link["reftarget"], link["reftargetid"] = PAGES_OF[file.name], None
            else:
                target = f"/{os.path.relpath(file, DOCS)}"
                link.replace_self(
                    addnodes.download_reference("", *link.children, reftarget=target, refdoc=link["refdoc"])
                )


def show_examples(app: Sphinx, tree: nodes.document) -> None:
    """The examples of a command keep their lines, and get a button; what each does stands under it."""
    for paragraph in list(tree.findall(nodes.paragraph)) if app.env.docname == "api/commands" else ():
        first, _, rest = paragraph.astext().partition("\n")
        if first in ("example:", "examples:") and rest.startswith("  "):
            lines = [line if line.startswith("   ") else f"$ {line.strip()}" for line in rest.splitlines()]
            text = "\n".join(lines)
            paragraph.replace_self(nodes.literal_block(text, text, language="console"))


def stored_results(folder: Path) -> list[tuple[Path, int]]:
    """Every JSON file in `folder` with its schema version; one that is no results file is an error."""
    found = []
    for file in sorted(folder.glob("*.json")):
        schema = json.loads(file.read_text(encoding="utf-8")).get("schema_version")
        if not isinstance(schema, int) or not 1 <= schema <= SCHEMA_VERSION:
            raise ExtensionError(f"{file}: schema_version: expected 1 to {SCHEMA_VERSION}, got {schema!r}")
        found.append((file, schema))
    return found


def report_of(file: Path) -> Path:
    """Where the site has the report of this results file, from the site's own folder."""
    kind = "comparison" if "contenders" in json.loads(file.read_text(encoding="utf-8")) else "report"
    return file.relative_to(DOCS).with_suffix("") / f"{kind}.html"


def link_reports(app: Sphinx, tree: nodes.document) -> None:
    """The page of a folder in results/ begins with links to the reports that `write_reports` makes of its files."""
    page = DOCS / f"{app.env.docname}.md"
    if page.name != "README.md" or page.parent.parent != DOCS / "results" or app.builder.format != "html":
        return
    here = app.builder.get_target_uri(app.env.docname)
    items, older = [], []
    for file, schema in stored_results(page.parent):
        app.env.note_dependency(str(file))
        if schema < OLDEST:
            older.append(file.name)
        else:
            uri = relative_uri(here, report_of(file).as_posix())
            items.append(nodes.list_item("", nodes.paragraph("", "", nodes.reference("", file.stem, refuri=uri))))
    box = nodes.admonition("", nodes.title("", "Reports"))
    if items:
        box += nodes.bullet_list("", *items)
    if older:
        box += nodes.paragraph("", f"Made before there were reports: {', '.join(older)}.")
    if items or older:
        title = next(iter(tree.findall(nodes.title)))
        title.parent.insert(title.parent.index(title) + 1, box)


def write_reports(app: Sphinx, exception: Exception | None) -> None:
    """The report of every results file that says enough, made anew beside the page that links to it."""
    if exception is not None or app.builder.format != "html":
        return
    for folder in sorted(path for path in (DOCS / "results").iterdir() if path.is_dir()):
        for file, schema in stored_results(folder):
            if schema >= OLDEST:
                held = json.loads(file.read_text(encoding="utf-8"))
                write_report(held, Path(app.outdir) / report_of(file).parent, source=file.name)


def setup(app: Sphinx) -> None:
    """Connects what is above to the build."""
    app.connect("autodoc-process-signature", show_arguments)
    app.connect("doctree-read", link_into_site, priority=400)  # before downloads are collected
    app.connect("doctree-read", find_capitals)
    app.connect("doctree-read", show_examples)
    app.connect("doctree-read", link_reports)
    app.connect("build-finished", write_reports)
