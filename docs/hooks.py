"""Pages that are made of the code when the site is built: rules, DDIs, commands, API.

Nothing generated is kept in the repository, so nothing of it can be stale.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from hvci import evaluate, model, policy, report
from hvci.catalog import ddis, libraries
from hvci.cli import main
from hvci.report.lines import code
from hvci.report.pages import Page, ddi_page, library_page, rule_page, warning_page
from hvci.report.warnings import WARNINGS
from hvci.rules import RULES

CRITERIA = {
    "Use no executable pool, and opt in to NX where an old header decides": (
        "execute-pool-type",
        "nx-opt-in",
    ),
    "Ask for no executable page protection": ("execute-page-protection",),
    "Map MDLs without the right to execute": ("execute-page-mapping",),
    "Do not call functions that have no NX form": ("executable-by-default",),
    "Have no section that is both writable and executable": ("execute-write-section",),
    "Align sections to pages": ("section-alignment",),
    "Give every section a right": ("section-without-access",),
    "Be laid out as linkers do it": ("unusual-layout",),
    "Be built for a machine that Windows has": ("no-edition-for-machine",),
    "Keep the import address table out of code": ("iat-in-executable-section",),
    "Have no relocation that crosses a page (Windows 10 1507 to 1607)": ("unsupported-relocs",),
    "Do not modify executable memory": ("writes-executable-memory",),
    "Do not generate code at run time": ("dynamic-code",),
    "Do not load data files as executable": ("data-file-as-executable",),
}
"""What Microsoft asks of a driver, and the rules that check it."""

API = {
    "hvci.evaluate": [evaluate.evaluate, evaluate.Options],
    "hvci.model": [model.Report, model.Finding, model.RuleResult, model.DdiCall, model.Value],
    "hvci.report": [report.Document, report.Format, report.render, report.from_json],
    "hvci.policy": [policy.Policy, policy.read_policy, policy.apply, policy.gate_of],
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Every generated page by its path."""
    made = {f"rules/{rule}.md": _rule(rule) for rule in RULES}
    made["rules/index.md"] = _rules()
    made["criteria.md"] = _criteria()
    made["ddis.md"] = _ddis()
    made["libraries.md"] = _libraries()
    made["commands.md"] = _commands()
    made["api.md"] = _api()
    return made


def _safe(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\*_<>|\[\]])", r"\\\1", text)


def _prose(text: str) -> str:
    """Text whose `code` stays code."""
    parts = text.split("`")
    return "`".join(part if i % 2 else _safe(part) for i, part in enumerate(parts))


def _facts(page: Page) -> Iterator[str]:
    for label, text in page.facts:
        yield from (f"**{label}.** {_prose(text)}", "")


def _rule(rule: str) -> str:
    page = rule_page(RULES[rule])
    title = page.title.partition(": ")[2]
    return "\n".join([f"# {rule}", "", f"{_prose(title)} (`{code(rule)}`)", "", *_facts(page)])


def _rules() -> str:
    lines = ["# Rules", "", "| rule | number | 0xC4 | decides | finds |", "|---|---|---|---|---|"]
    for rule in RULES.values():
        subcode = f"`{rule.subcode:#x}`" if rule.subcode else ""
        decides = ", ".join(sorted(rule.questions)) or "nothing: a note"
        link = f"[{rule.id}]({rule.id}.md)"
        lines.append(f"| {link} | {code(rule.id)} | {subcode} | {decides} | {_prose(rule.title)} |")
    lines += ["", "## Compiler warnings", ""]
    for number in WARNINGS:
        page = warning_page(number)
        lines += [f"### {number}", "", f"{_prose(page.title.partition(': ')[2])}.", ""]
        lines += _facts(page)
    return "\n".join(lines)


def _criteria() -> str:
    lines = [
        "# Microsoft's criteria",
        "",
        "What Microsoft asks of a driver for memory integrity, and the rules that check it. A",
        'report says "not asked" where no rule looked, and never "yes".',
        "",
        "| criterion | rule | counter | 0xC4 |",
        "|---|---|---|---|",
    ]
    for criterion, names in CRITERIA.items():
        rules = [RULES[name] for name in names if name in RULES]
        links = ", ".join(f"[{rule.id}](rules/{rule.id}.md)" for rule in rules)
        counter = next((rule.counter for rule in rules if rule.counter), None)
        number = f"`{counter.subcode:#x}`" if counter and counter.subcode else "none"
        named = counter.hlk_name if counter else "none"
        lines.append(f"| {criterion} | {links or 'not checked'} | {named} | {number} |")
    return "\n".join([*lines, ""])


def _ddis() -> str:
    lines = [
        "# DDIs",
        "",
        "The functions whose calls are judged or listed. *Seed* are those that Microsoft lists as",
        "impacted. `hvci explain NAME` shows the same in a terminal.",
        "",
    ]
    for ddi in sorted(ddis().values(), key=lambda ddi: ddi.name):
        lines += [f"## {_safe(ddi.name)}", "", *_facts(ddi_page(ddi))]
    return "\n".join(lines)


def _libraries() -> str:
    lines = [
        "# Library code in drivers",
        "",
        "Calls of executable memory that stand in no source of the driver, because a static",
        "library or a header of a kit makes them. A finding at such a call names the library.",
        "`hvci explain NAME` shows the same in a terminal.",
        "",
    ]
    for library in libraries().values():
        lines += [f"## {_safe(library.name)}", "", *_facts(library_page(library))]
    return "\n".join(lines)


def _commands() -> str:
    lines = ["# Commands", "", "What `hvci COMMAND --help` prints.", ""]
    context = click.Context(main, info_name="hvci")
    lines += ["## hvci", "", *_help(main, context)]
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        lines += [f"## hvci {name}", ""]
        inner = click.Context(command, info_name=name, parent=context)
        lines += _help(command, inner)
        if isinstance(command, click.Group):
            for word in command.list_commands(inner):
                below = command.get_command(inner, word)
                assert below is not None
                lines += [f"### hvci {name} {word}", ""]
                lines += _help(below, click.Context(below, info_name=word, parent=inner))
    return "\n".join(lines)


def _help(command: click.Command, context: click.Context) -> list[str]:
    context.max_content_width = 100
    return ["```text", command.get_help(context), "```", ""]


def _api() -> str:
    lines = ["# Python API", "", "What other programs may rely on.", ""]
    for module, things in API.items():
        lines += [f"## {module}", ""]
        for thing in things:
            signature = "" if inspect.isclass(thing) else str(inspect.signature(thing))
            lines += [f"### {thing.__name__}", "", "```python", f"{thing.__name__}{signature}"]
            lines += ["```", "", _prose(inspect.getdoc(thing) or ""), ""]
            if inspect.isclass(thing):
                lines += list(_members(thing))
    return "\n".join(lines)


def _members(thing: type) -> Iterator[str]:
    for name in getattr(thing, "__dataclass_fields__", {}):
        yield f"- `{name}`: `{thing.__dataclass_fields__[name].type}`"
    for name, value in vars(thing).items():
        if isinstance(value, property):
            yield f"- `{name}` (property): {_prose(inspect.getdoc(value) or '')}"
    yield ""
