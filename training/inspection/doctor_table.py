"""The doctor's words on a terminal: a bag's topics and findings, and all bags in a table."""

from collections import Counter

from training.inspection.doctor_report import UNREADABLE, BagReport, TopicReport

_MOST_PLACES = 5


def bag_text(report: BagReport) -> str:
    """Return what is to be said of one bag, over several lines."""
    head = f"{report.path}: {report.verdict}"
    if report.verdict == UNREADABLE:
        return f"{head}\n  {report.reason}\n"
    judged = {None: "", True: ", success", False: ", no success"}[report.success]
    episode = f"{report.kind or 'no episode'}{judged}, task {report.task!r}"
    lines = [head, f"  {report.length_s:.1f} s, {report.size_bytes / 1e6:.1f} MB, {episode}"]
    lines += [f"  {line}" for line in aligned(topic_rows(report.topics))]
    for finding in report.findings:
        lines.append(f"  {finding.severity}: {finding.text}{_where(finding.places)}")
        lines.append(f"      {finding.remedy}")
    return "\n".join(lines) + "\n"


def table(reports: list[BagReport]) -> str:
    """Return a row a bag, and how many there are of each verdict."""
    rows = [("bag", "s", "MB", "kind", "verdict", "why")]
    for report in reports:
        size, length = f"{report.size_bytes / 1e6:.1f}", f"{report.length_s:.1f}"
        rows.append((report.path, length, size, report.kind, report.verdict, report.reason))
    counts = Counter(report.verdict for report in reports)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return "\n".join([*aligned(rows), f"{len(reports)} bags: {said}"])


def topic_rows(topics: list[TopicReport]) -> list[tuple[str, ...]]:
    """Return the cells of a table of topics, its head first."""
    head = ("topic", "messages", "Hz", "jitter ms", "missing", "gap s", "delay ms", "drift ms")
    return [head, *(_topic_row(topic) for topic in topics)]


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows as lines with columns one below the other."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _topic_row(topic: TopicReport) -> tuple[str, ...]:
    stream = topic.stream
    is_timed = bool(stream.rate_hz) and (stream.is_steady or topic.role)
    gap_s = max((length for _, length in stream.gaps), default=0.0)
    return (
        topic.name,
        str(stream.messages),
        f"{stream.rate_hz:.1f}" if is_timed else "-",
        f"{1e3 * stream.jitter_s:.1f}" if is_timed else "-",
        str(stream.missing) if is_timed else "-",
        f"{gap_s:.3f}" if is_timed and gap_s else "-",
        "-" if stream.delay_s is None else f"{1e3 * stream.delay_s:.1f}",
        "-" if stream.drift_s is None else f"{1e3 * stream.drift_s:+.1f}",
    )


def _where(places: list[tuple[float, float]]) -> str:
    """Return the first places in order of time; those that have no length are points."""
    if len(places) < 2:
        return ""
    said = [
        f"{at_s:.2f}" + (f" (+{length_s:.2f})" if length_s else "") for at_s, length_s in places
    ]
    more = ", ..." if len(places) > _MOST_PLACES else ""
    return f" [at {', '.join(said[:_MOST_PLACES])}{more} s]"
