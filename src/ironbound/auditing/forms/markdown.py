"""An audit, and what a gate said of it, as a section of a model card in Markdown.

The order is that of model cards (Mitchell et al. 2019, arXiv 1810.03993), under the headings that Hugging Face's cards have for
an evaluation: testing data, factors, metrics, results, limitations; then how to reproduce it.

What others chose (names, threats of their own, what checks saw) is text and nothing else in every dialect: single names are
code, in which nothing is formatted, linked or mentioned; in sentences, characters that could mean something are written as
numbers (&#42;), which CommonMark promises never to take for marks, and word joiners (U+2060) keep renderers from making
mentions and links out of what looks like them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from ironbound.auditing.forms.common import NAME
from ironbound.auditing.gaps import weakness
from ironbound.auditing.report import wording
from ironbound.auditing.report.schema import Audit, Check, GateFacts, GroupFacts
from ironbound.core.text import brief

WEAKEST = 10
"""Classes, and slices of a column, in a table: those that hold least under attack."""
SENTENCE = 2000
"""Characters of a text that others may have a part in, at most."""
_MARKS = re.compile(
    r"[\\`*\[\]<>|~&${}^]|[=+](?=[=+])|(?<=[=+])[=+]|^[#=+]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[-:]|^\d+(?=[.)](?: |$))"
)
_LINKS = re.compile(r"(?<=@)|(?<=#)(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
JOINER = "\N{WORD JOINER}"
OUTCOMES = {"pass": "passed", "below": "below", "above": "above", "cannot tell": "cannot tell", "fail": "failed"}


def markdown(audit: Audit, gate: GateFacts | None = None) -> str:
    """A section that begins with a heading of the second level, to be put into a model card or a comment."""
    parts = [
        ["## Adversarial robustness", f"**{words(wording.sentence(audit))}**"],
        _gate(gate),
        _data(audit),
        _metrics(audit),
        _results(audit),
        _factors(audit),
        _limits(audit),
        _again(audit),
    ]
    return "\n\n".join(block for part in parts for block in part) + "\n"


def code(name: Any) -> str:
    """A name as code: in it nothing is a mark, a link, a mention or HTML. What would part the cells of a table is no code.

    >>> code("a`b"), code("a|b")
    ('`` a`b ``', 'a&#124;b')
    """
    text = brief(name, NAME)
    if not text.strip():
        return "(no name)"
    if "|" in text:
        return words(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    room = " " if len(fence) > 1 or text[0] == " " or text[-1] == " " else ""
    return f"{fence}{room}{text}{room}{fence}"


def words(text: Any) -> str:
    """A sentence in one line with every mark written as a number; what looks like a link or a mention is taken apart.

    >>> words("a *b* <c>")
    'a &#42;b&#42; &#60;c&#62;'
    """
    apart = _LINKS.sub(JOINER, brief(text, SENTENCE).strip())
    return _MARKS.sub(lambda found: "".join(f"&#{ord(mark)};" for mark in found.group()), apart)


def _gate(gate: GateFacts | None) -> list[str]:
    if gate is None:
        return []
    rows = [[words(c["name"]), OUTCOMES[c["outcome"]], words(c["reason"])] for c in gate["conditions"]]
    verdict = "passed" if gate["passed"] else "not passed"
    return [f"### Gate: {verdict}", words(gate["reason"]), *_table(["asked for", "outcome", "reason"], rows)]


def _data(audit: Audit) -> list[str]:
    data = audit["data"]
    shard = audit.get("shard")
    part = f" This is shard {shard['number']} of {shard['of']} alone." if shard else ""
    classes = f", {len(data['classes']):,} classes" if len(data["classes"]) > 1 else ""
    return [
        "### Testing data",
        f"{code(data['name'])}: {wording.count(data['samples'])} of {wording.plural(data['rows'], 'row')}{classes}, fingerprint "
        f"{code(data['fingerprint'])}.{part}",
    ]


def _metrics(audit: Audit) -> list[str]:
    """What was measured, and against whom."""
    model = audit["model"]
    return [
        "### Metrics",
        f"Every sample was classified by {code(model['name'])} ({wording.count(model['parameters'])} parameters, fingerprint "
        f"{code(model['fingerprint'])}), attacked, and where possible certified, against one threat: "
        f"**{words(wording.threat(audit))}** ({words(audit['threat']['text'])}). The share certified is a lower bound of the "
        "true robust accuracy against that threat, the share that no attack broke an upper bound. Intervals are exact 95% "
        "intervals (Clopper and Pearson 1934) for samples drawn as these were.",
    ]


def _results(audit: Audit) -> list[str]:
    last = "Not broken, attacked so far" if wording.doubted(audit) else "Not broken by any attack that was run"
    attacked, bounded = wording.was_attacked(audit), wording.was_bounded(audit)
    named = [("Right when clean", "clean"), *([(last, "attacked")] if attacked else [])]
    named += [("Certified", "certified")] if bounded else []
    state = f"{words(wording.threat(audit))}; {wording.checks_state(audit)}"
    rows = [[name, *_cells(audit[kind]), state] for name, kind in named]  # type: ignore[literal-required]
    verdicts = ", ".join(
        f"{wording.count(audit['verdicts'][v])} {v}" for v in ("certified", "undecided", "broken", "wrong")
    )
    found = [
        "### Results",
        *_table(["", "share", "samples", "95% interval", "threat and checks"], rows),
        *([words(said)] if (said := wording.not_tried(audit)) else []),
        f"Verdicts: {verdicts}. {words(wording.proofs(audit))}".strip(),
        f"Confidence in the evaluation: **{audit['confidence']['grade']}**. {words(audit['confidence']['text'])}",
    ]
    return [*found, *_asked(audit["checks"])]


def _asked(checks: Sequence[Check]) -> list[str]:
    """The checks that failed or could not tell; of the others their number."""
    rows = [
        [
            f"{check['number']} {words(check['name'])}",
            f"{check['result']} ({check['severity']})",
            words(check["evidence"]),
            words(check["next"]),
        ]
        for result in ("fail", "cannot tell")
        for check in checks
        if check["result"] == result
    ]
    passed = sum(check["result"] == "pass" for check in checks)
    said = [f"{wording.plural(passed, 'check')} passed."] if passed else []
    return [*_table(["check", "result", "what was seen", "next"], rows), *said]


def _factors(audit: Audit) -> list[str]:
    """The classes and slices that hold least."""
    tables = [("class", audit["classes"], "")]
    tables += [(column["column"], column["groups"], column["note"]) for column in audit["slices"]]
    attacked = wording.was_attacked(audit)
    found = [block for name, groups, note in tables for block in _weakest(name, groups, note, attacked)]
    return ["### Factors", *found] if found else []


def _weakest(name: str, groups: Sequence[GroupFacts], note: str, attacked: bool) -> list[str]:
    filled = [group for group in groups if group["total"]]
    if len(filled) < 2:
        return []
    ranked = sorted(filled, key=weakness)[:WEAKEST]
    rows = [[code(group["name"]), *_cells(group["attacked"]), *_cells(group["certified"])[:1]] for group in ranked]
    when = "under attack" if attacked else "when clean"
    few = f"The {WEAKEST} of {wording.count(len(filled))} that hold least {when}. " if len(filled) > WEAKEST else ""
    lead = f"By {words(name)}, the weakest first; each interval is for that group alone. {few}{words(note)}".strip()
    return [lead, *_table([words(name), when, "samples", "95% interval", "certified"], rows)]


def _limits(audit: Audit) -> list[str]:
    """What must not be read into the figures."""
    said = [
        f"The figures are for {words(wording.threat(audit))} alone, and for data like the tested: another norm, a larger radius, "
        "another kind of change or a shift of the data may break more.",
        "What no attack broke is not proved to be robust: better attacks may come. Only the certified share is proved, for the "
        "network in exact arithmetic.",
        "This is evidence for a judgement, not the judgement that the model is fit for a use.",
    ]
    if wording.doubted(audit):
        said.insert(
            0, "The evaluation itself is in doubt (see the checks): take the share under attack for a figure so far."
        )
    said += [f"Not run yet: {words(stage)}." for stage in audit.get("pending", [])]
    said += [f"Note: {words(note)}" for note in audit.get("notes", [])]
    return ["### Limitations", "\n".join(f"- {line}" for line in said)]


def _again(audit: Audit) -> list[str]:
    """What was run, and how to run and check it again."""
    versions = ", ".join(f"{words(name)} {words(audit['environment'][name])}" for name in audit["environment"])
    prints = "\n".join(f"- {words(name)}: {code(value)}" for name, value in audit["fingerprints"].items())
    stages = ", ".join(words(stage) for stage in audit["plan"]["stages"])
    cost = audit["cost"]
    rows = f"{wording.count(cost['forward'])} forward and {wording.count(cost['backward'])} backward rows"
    return [
        "### How to reproduce",
        f"Ironbound {words(audit['ironbound'])}, plan {code(audit['plan']['name'])} ({stages}), seed {audit['seed']}, begun "
        f"{words(audit['created'])}; {rows} in {wording.duration(cost['seconds'])}. Same inputs, same verdicts: draws depend on "
        "the seed and each sample's content.",
        f"```\n{_command(audit)}\nironbound verify RUN\n```",
        f"Fingerprints:\n\n{prints}",
        f"Environment: {versions}.",
    ]


def _command(audit: Audit) -> str:
    """What to type; threat and plan stand as they are spelt, and are one word of the shell each."""
    typed = {"--threat": audit["threat"]["spec"], "--method": audit["plan"]["name"], "--seed": audit["seed"]}
    given = " ".join(f"{flag} {shlex.quote(brief(value, NAME))}" for flag, value in typed.items())
    return f"ironbound audit --model FILE:NAME --data DATA {given}"


def _cells(share: Any) -> list[str]:
    """A share as three cells."""
    return [
        wording.percent(share["fraction"]),
        f"{share['count']:,} of {share['total']:,}",
        wording.span(share["low"], share["high"]),
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as one block; nothing where it has no rows."""
    if not rows:
        return []
    lines = [heads, ["---"] * len(heads), *rows]
    return ["\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
