"""What browsers are given: code of others unchanged, and nothing inline that the policy forbids."""

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

ROOT = Path(__file__).parents[2]
NAMES = {"Firstlook", "· Firstlook", ", SHA-256"}  # the same in every language
NOT_IN_BUNDLES = {
    *(
        "check",
        "dataset",
        "group",
        "network",
        "recipe",
        "region",
        "saved",
        "table",
        "token",
        "worker",
    )
}
"""What has a name that no bundle gives it, beside sites and fields of forms: people typed it, or it
is a part of the installation."""
VENDOR = ROOT / "static" / "vendor"
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
STYLES = sorted((ROOT / "static" / "css").glob("*.css"))


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def recorded_hashes() -> dict[str, str]:
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    return {name: sha256 for sha256, name in (line.split("  ", 1) for line in lines)}


def test_every_vendored_file_is_recorded_and_unchanged() -> None:
    found = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in VENDOR.iterdir()
        if folder.is_dir()
        for path in folder.rglob("*")
    }
    assert found == recorded_hashes()


def test_every_vendored_package_carries_its_licence() -> None:
    folders = [path for path in VENDOR.iterdir() if path.is_dir()]
    assert folders
    assert [path.name for path in folders if not (path / "LICENSE").is_file()] == []


class InlineFinder(HTMLParser):
    """Collects what a policy without 'unsafe-inline' refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attributes}
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(f"<{tag}>")
        for name, value in attributes:
            if name == "style" or name.startswith(("on", "hx-on")):
                self.found.append(f"<{tag} {name}>")
            if (value or "").strip().lower().startswith("javascript:"):
                self.found.append(f"<{tag} {name}={value}>")


def inline_parts(html: str) -> list[str]:
    finder = InlineFinder()
    finder.feed(re.sub(r"{#.*?#}|{%.*?%}", " ", html, flags=re.DOTALL))
    return finder.found


@pytest.mark.parametrize("template", TEMPLATES, ids=by_name)
def test_templates_have_nothing_inline(template: Path) -> None:
    assert inline_parts(template.read_text()) == []


@pytest.mark.parametrize(
    "html",
    [
        "<style>a {}</style>",
        "<script>go()</script>",
        '<p style="color: red">',
        '<button {% if a %}onclick="go()"{% endif %}>',
        '<div hx-on:click="go()">',
        '<a href="javascript:go()">',
    ],
)
def test_the_search_for_inline_parts_finds_them(html: str) -> None:
    assert inline_parts(html)


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_scripts_evaluate_nothing_and_write_no_markup(script: Path) -> None:
    forbidden = (
        r"\beval\(|new Function\(|\.innerHTML|\.outerHTML|insertAdjacentHTML|document\.write"
    )
    assert re.findall(forbidden, script.read_text()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_scripts_import_only_their_neighbours(script: Path) -> None:
    imported = re.findall(r'^import .*?from "([^"]+)";', script.read_text(), re.MULTILINE)
    assert [name for name in imported if not (script.parent / name).is_file()] == []


@pytest.mark.parametrize("path", [*TEMPLATES, *SCRIPTS, *STYLES], ids=by_name)
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    addresses = re.findall(r"""["'(]((?:https?:)?//[^"')\s]+)""", path.read_text())
    assert addresses == []


@pytest.mark.parametrize("style", STYLES, ids=by_name)
def test_own_styles_stand_in_a_layer(style: Path) -> None:
    text = re.sub(r"/\*.*?\*/", "", style.read_text(), flags=re.DOTALL).strip()
    assert text.startswith("@layer ")


def test_texts_of_templates_go_through_babel() -> None:
    """No template shows a bare English word: what is written between tags is wrapped in _()."""
    bare = {}
    for template in TEMPLATES:
        text = re.sub(r"{% block \w+_class %}.*?{% endblock %}", " ", template.read_text())
        text = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", " ", text, flags=re.DOTALL)
        words = [word.strip() for word in re.findall(r">([^<>]+)<", text)]
        found = [word for word in words if re.search(r"[A-Za-z]{2}", word) and word not in NAMES]
        if found:
            bare[by_name(template)] = found
    assert bare == {}


def untranslated_names(template: str) -> list[str]:
    """Names that a template takes as they are stored: those of findings and of reading tasks are
    English there, and are for the filter `translated`."""
    tree = Environment().parse(template)
    filters = list(tree.find_all(nodes.Filter))
    translated = {id(one.node) for one in filters if one.name == "translated"}
    for one in filters:
        if one.name == "map" and one.args and one.args[0].as_const() == "translated":
            translated.add(id(one.node))
    mapped = [
        (one, pair.value.as_const())
        for one in filters
        if one.name == "map"
        for pair in one.kwargs
        if pair.key == "attribute"
    ]
    taken = [(one, dotted(one)) for one in tree.find_all(nodes.Getattr)] + mapped
    return [
        path
        for node, path in taken
        if path.endswith(".name") and id(node) not in translated and not is_not_of_a_bundle(path)
    ]


def dotted(node: nodes.Node) -> str:
    """What attributes are taken of what, as it is written."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{dotted(node.node)}.{node.attr}"
        case nodes.Getitem():
            return dotted(node.node)
        case _:
            return "..."


def is_not_of_a_bundle(path: str) -> bool:
    first, owner = path.split(".")[0], path.split(".")[-2]
    is_field = first == "f" or first.endswith("form")
    return is_field or owner.endswith("site") or owner in NOT_IN_BUNDLES


@pytest.mark.parametrize("template", TEMPLATES, ids=by_name)
def test_names_of_findings_and_reading_tasks_are_translated(template: Path) -> None:
    assert untranslated_names(template.read_text()) == []


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{{ case.reading_task.name }}", ["case.reading_task.name"]),
        ("{{ _('%(name)s', name=finding.name) }}", ["finding.name"]),
        ("{{ findings[0].name | upper }}", ["findings.name"]),
        ("{{ said | map(attribute='finding.name') | join }}", ["finding.name"]),
        ("{{ said | map(attribute='finding.name') | map('translated') | join }}", []),
        ("{{ finding.name | translated if finding else site.name }}", []),
    ],
)
def test_a_name_that_is_shown_as_it_is_stored_is_found(template: str, names: list[str]) -> None:
    assert untranslated_names(template) == names


def test_whatever_is_written_of_a_case_survives_being_signed_off() -> None:
    places = ("macros/reviews.html", "triage/move.html", "triage/particulars.html")
    forms = [
        form
        for place in places
        for form in re.findall(r"<form.*?</form>", (ROOT / "templates" / place).read_text(), re.S)
        if "field(form." in form and "inline-form" not in form  # to whom a case is handed over
    ]
    assert len(forms) >= 7
    for form in forms:
        assert "draft_basis(case, " in form.partition(">\n")[0], form
