"""What the doctor found, as plain values, and what in it is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unimm.data.doctor import Findings, spread
from unimm.data.readers import Guess
from unimm.data.samples import Source

Report = Mapping[str, Any]


def report_of(path: str, guess: Guess, source: Source, found: Findings) -> Report:
    """Return everything that was found as values that JSON can hold."""
    read = found.checked / found.seconds if found.seconds else 0.0
    both = found.seconds + found.decode_seconds
    return {
        "path": path,
        "format": guess.format,
        "why": guess.why,
        "left_out": list(guess.left_out),
        "samples": found.samples,
        "shards": len(source.shards),
        "random_access": source.random_access,
        "checked": found.checked,
        "faults": list(source.faults),
        "broken": {
            "count": found.num_broken,
            "kinds": dict(found.kinds),
            "first": [{"key": each.key, "kind": each.kind, "reason": each.reason} for each in found.broken],
        },
        "pictures": {
            "count": found.pictures,
            "seen": found.pictures - found.drawn,
            "to_draw": found.drawn,
            "formats": dict(found.formats.most_common()),
            "width": spread(found.widths),
            "height": spread(found.heights),
            "bytes": found.bytes,
        },
        "duplicates": {
            "pictures": found.shared.pictures,
            "samples": found.shared.samples,
            "first": found.duplicates,
        },
        "classes": len(found.labels),
        "wordings": dict(found.wordings.most_common(8)),
        "tokens": spread(found.tokens),
        "learnt_tokens": spread(found.labelled),
        "speed": {
            "samples_per_second": read,
            "megabytes_per_second": found.bytes / 1e6 / found.seconds if found.seconds else 0.0,
            "decoded_samples_per_second": found.checked / both if both else 0.0,
        },
        "leaks": {
            "count": found.num_leaks,
            "first": [
                {
                    "key": key,
                    "kind": leak.kind,
                    "prompt": leak.prompt,
                    "of": leak.source,
                    "text": leak.text[:300],
                }
                for key, leak in found.leaks
            ],
        },
    }


def healthy(report: Report) -> bool:
    """Return whether nothing is broken or leaked; duplicates may be meant."""
    return not (report["faults"] or report["broken"]["count"] or report["leaks"]["count"])


def lines_of(report: Report) -> list[tuple[str, str]]:
    """Return what the report says, as names and sentences."""
    pictures = report["pictures"]
    lines = [
        ("format", f"{report['format']}: {report['why']}"),
        ("samples", f"{report['samples']:,} in {_shards(report['shards'])}, {report['checked']:,} checked"),
    ]
    if report["left_out"]:
        lines.append(("left out", f"of another format: {', '.join(report['left_out'])}"))
    if not report["random_access"]:
        lines.append(("order", "a stream: read from front to back, a row is reached through all before it"))
    kinds = ", ".join(f"{name} {count:,}" for name, count in pictures["formats"].items())
    counts = f"{pictures['seen']:,} seen, {pictures['to_draw']:,} to draw"
    lines += [
        ("pictures", f"{counts}; {kinds}" if kinds else counts),
        ("width", _spread(pictures["width"], "pixels")),
        ("height", _spread(pictures["height"], "pixels")),
        ("tokens", _spread(report["tokens"], "a sample")),
        ("learnt", _spread(report["learnt_tokens"], "tokens a sample have a loss")),
    ]
    if report["classes"]:
        lines.append(("classes", f"{report['classes']:,} among those checked"))
    if report["wordings"]:
        lines.append(("captions", "; ".join(f"{name} ({n:,})" for name, n in report["wordings"].items())))
    lines += [
        ("speed", _speed(report["speed"])),
        ("duplicates", _duplicates(report["duplicates"])),
    ]
    return lines + faults_of(report)


def faults_of(report: Report) -> list[tuple[str, str]]:
    """Return what is wrong, as names and sentences; the first of each."""
    broken = report["broken"]
    lines = [("file", fault) for fault in report["faults"]]
    if broken["count"]:
        kinds = ", ".join(f"{name} {count:,}" for name, count in broken["kinds"].items())
        lines.append(("broken", f"{broken['count']:,} of {report['checked']:,}: {kinds}"))
        lines += [(each["kind"], f"{each['key']}: {each['reason']}") for each in broken["first"]]
    if report["leaks"]["count"]:
        lines.append(("leaks", f"{report['leaks']['count']:,} texts hold a benchmark's prompt"))
        lines += [
            (each["kind"], f"{each['key']}: {each['prompt']!r} of {each['of']}")
            for each in report["leaks"]["first"]
        ]
    return lines


def _shards(count: int) -> str:
    return "1 shard" if count == 1 else f"{count:,} shards"


def _speed(speed: Mapping[str, float]) -> str:
    return (
        f"{speed['samples_per_second']:,.0f} samples/s and {speed['megabytes_per_second']:,.1f} MB/s read, "
        f"{speed['decoded_samples_per_second']:,.0f} samples/s with pictures decoded, in one process"
    )


def _duplicates(found: Mapping[str, Any]) -> str:
    if not found["pictures"]:
        return "none, byte for byte"
    first = ", ".join(found["first"][0])
    return f"{found['pictures']:,}, each in several of {found['samples']:,} samples, such as {first}"


def _spread(values: Mapping[str, float], unit: str) -> str:
    if not values:
        return "none"
    if values["least"] == values["most"]:
        return f"{values['least']:,.0f} {unit}, all alike"
    return (
        f"{values['median']:,.0f} {unit} at the median, {values['least']:,.0f} to {values['most']:,.0f}, "
        f"95 % up to {values['p95']:,.0f}"
    )
