"""The doctor's page: one HTML file with its plots inside, and nothing fetched from elsewhere."""

import base64
from html import escape

from training.inspection.doctor_report import (
    ERROR,
    GOOD,
    NOTE,
    UNREADABLE,
    USABLE,
    WARNING,
    BagReport,
    DoctorLimits,
    limits_text,
)
from training.inspection.doctor_table import topic_rows

_COLOURS = {GOOD: "#2e7d32", USABLE: "#b26a00", "unusable": "#b71c1c", UNREADABLE: "#b71c1c"}
_SHADES = {ERROR: "#b71c1c", WARNING: "#b26a00", NOTE: "#555"}
_STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: .7em 0; }
th, td { text-align: left; padding: .2em .8em .2em 0; border-bottom: 1px solid #ddd;
  vertical-align: top; }
td.number, th.number { text-align: right; }
h2 { margin-top: 2.2em; border-top: 2px solid #ccc; padding-top: .7em; overflow-wrap: anywhere; }
img { max-width: 100%; }
pre { background: #f5f5f5; padding: .7em; overflow-x: auto; }
.remedy { color: #555; }
"""


_CAPTION = (
    "Above: when messages of each topic arrived, dark at the usual rate, pale where none did; red "
    "bars are gaps between stamps, which convert cuts at, crosses other findings, and what is "
    "hatched convert does not use. Below left: how long after its stamp a message arrived; a line "
    "that rises is a clock that runs slow, or a recorder that cannot keep up, and a step a clock "
    "that was set. Below right: the time between neighbouring stamps as a rate; what lies left of "
    "a topic's peak are missing messages."
)


def page(reports: list[BagReport], limits: DoctorLimits) -> str:
    """Return the page."""
    rows = "".join(
        f"<tr><td><a href='#bag{number}'>{escape(report.path)}</a></td>"
        f"<td class=number>{report.length_s:.1f}</td>"
        f"<td class=number>{report.size_bytes / 1e6:.1f}</td><td>{escape(report.kind)}</td>"
        f"<td>{_verdict(report.verdict)}</td><td>{escape(report.reason)}</td></tr>\n"
        for number, report in enumerate(reports)
    )
    bags = "\n".join(_bag(number, report) for number, report in enumerate(reports))
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>Bags</title>"
        f"<style>{_STYLE}</style></head><body>\n<h1>{len(reports)} bags</h1>\n"
        "<table><tr><th>bag<th>s<th>MB<th>kind<th>verdict<th>why</tr>\n"
        f"{rows}</table>\n{bags}\n<h2>Limits</h2><pre>{escape(limits_text(limits))}</pre>\n"
        "</body></html>\n"
    )


def _bag(number: int, report: BagReport) -> str:
    head = f"<h2 id=bag{number}>{escape(report.path)}: {_verdict(report.verdict)}</h2>"
    if report.verdict == UNREADABLE:
        return f"{head}<p>{escape(report.reason)}</p>"
    findings = "".join(
        f"<tr><td style='color:{_SHADES[found.severity]}'>{found.severity}</td>"
        f"<td>{escape(found.text)}<br>"
        f"<span class=remedy>{escape(found.remedy)}</span></td></tr>\n"
        for found in report.findings
    )
    task = f", task “{escape(report.task)}”" if report.task else ""
    picture = base64.b64encode(report.picture).decode()
    return (
        f"{head}<p>{report.length_s:.1f} s, {escape(report.kind or 'no episode')}{task}</p>\n"
        f"<table>{findings or '<tr><td>nothing to do</td></tr>'}</table>\n"
        f"{_topics(report)}<p>{_CAPTION}</p>\n"
        "<img alt='messages, delays and intervals over time' "
        f"src='data:image/png;base64,{picture}'>"
    )


def _topics(report: BagReport) -> str:
    (name, *heads), *rows = topic_rows(report.topics)
    head = f"<tr><th>{name}" + "".join(f"<th class=number>{escape(text)}" for text in heads)
    body = "".join(
        f"<tr><td>{escape(topic)}</td>"
        + "".join(f"<td class=number>{escape(cell)}</td>" for cell in cells)
        + "</tr>\n"
        for topic, *cells in rows
    )
    return f"<table>{head}</tr>\n{body}</table>\n"


def _verdict(verdict: str) -> str:
    return f"<b style='color:{_COLOURS[verdict]}'>{verdict}</b>"
