"""How to use a run's network and how to repeat the run: commands, data, time, versions, settings."""

from __future__ import annotations

import shlex

from vitesse.report.markup import Html, code, facts, folded, joined, section, table, tag
from vitesse.report.summary import RunSummary
from vitesse.report.wording import duration, percent, size

STAGE_COLOURS = ("--teacher", "--supernet", "--search", "--winner", "--muted")


def command_line(summary: RunSummary) -> str:
    """The commands that use the network from a shell."""
    folder = shlex.quote(summary.folder)
    lines = [f"vitesse predict {folder} photo.jpg", f"vitesse bench {folder}"]
    if "detector.onnx" in summary.files:
        return lines[0]
    return "\n".join(lines if "model.safetensors" in summary.files else [])


def python(summary: RunSummary) -> str:
    """The network in PyTorch."""
    if "detector.safetensors" in summary.files:
        return (
            "from torchvision.io import decode_image\n"
            "from vitesse.tasks.detection import load\n\n"
            f"detector = load({summary.folder!r})\n"
            '(found,) = detector([decode_image("photo.jpg") / 255])  # boxes, labels and scores\n'
            'names = [detector.class_names[label - detector.first_label] for label in found["labels"]]'
        )
    if "model.safetensors" not in summary.files or summary.arch is None:
        return ""
    return (
        "import vitesse\n"
        "from PIL import Image\n"
        "from vitesse.data.preprocess import normalise, to_batch\n\n"
        f"net = vitesse.load({summary.folder!r})\n"
        'pixels = to_batch([Image.open("photo.jpg")], net.preprocess)\n'
        f"logits = net(normalise(pixels, net.preprocess))  # {_input(summary)} -> (B, {summary.arch.head.classes})"
    )


def onnx_runtime(summary: RunSummary) -> str:
    """The exported file in ONNX Runtime, without PyTorch or Vitesse."""
    if "model.onnx" not in summary.files or summary.arch is None:
        return ""
    return (
        "import onnxruntime\n\n"
        f"session = onnxruntime.InferenceSession({summary.folder + '/model.onnx'!r})\n"
        "name = session.get_inputs()[0].name\n"
        f"(logits,) = session.run(None, {{name: images}})  # float32 {_input(summary)}, values from 0 to 1"
    )


def use(summary: RunSummary) -> Html:
    """The ways to use the network, in three languages."""
    ways = {"Command line": command_line(summary), "Python": python(summary), "ONNX Runtime": onnx_runtime(summary)}
    return section(
        "use", "Use it", *(tag("div", tag("h3", name), code(source)) for name, source in ways.items() if source)
    )


def repeat(summary: RunSummary) -> Html:
    """Everything that it takes to make this run again."""
    origin = summary.origin
    run = {name: value for name, value in origin.run.items() if name != "command"}
    folders = {name: size(length) for name, length in summary.files.items()}
    lists = {
        "Run": facts(run),
        "Versions": facts(origin.versions),
        "Device": facts(origin.device),
        "Files": facts(folders),
    }
    return section(
        "repeat",
        "Repeat it",
        code(origin.command) if origin.command else "",
        tag("div", *(tag("div", tag("h3", name), list_) for name, list_ in lists.items() if list_), class_="columns"),
        folded("Settings as resolved (run.toml)", code(origin.settings)),
    )


def data(summary: RunSummary) -> Html:
    """The images: their source and fingerprint, what was odd, the classes."""
    known, teacher = summary.data, summary.teacher
    named = facts(
        {
            "source": known.source,
            "fingerprint": tag("code", known.fingerprint) if known.fingerprint else None,
            "teacher": teacher.name if teacher is not None else None,
            "teacher’s licence": teacher.licence if teacher is not None else None,
        }
    )
    notes = tag("ul", *(tag("li", note) for note in known.notes), class_="plain") if known.notes else ""
    names = tag("ul", *(tag("li", name) for name in known.classes), class_="classes") if known.classes else ""
    return section("data", "Data", named, notes, folded(f"{len(known.classes)} classes", names) if names else "")


def time(summary: RunSummary) -> Html:
    """Where the time went, drawn and as a table."""
    stages = {name: seconds for name, seconds in summary.seconds_by_stage.items() if seconds > 0}
    whole = summary.seconds if summary.seconds is not None else sum(stages.values())
    if not whole:
        return Html("")
    total = sum(stages.values())
    colours = {name: f"var({STAGE_COLOURS[place % len(STAGE_COLOURS)]})" for place, name in enumerate(stages)}
    bar = joined(
        tag(
            "i",
            style=f"flex: {seconds / total:.4f} 0 0; background: {colours[name]}",
            title=f"{name}: {duration(seconds)}",
        )
        for name, seconds in stages.items()
    )
    rows = [
        (
            joined([tag("i", class_="key", style=f"background: {colours[name]}"), name]),
            duration(seconds),
            percent(seconds / total),
        )
        for name, seconds in stages.items()
    ]
    return section(
        "time",
        "Time",
        tag("p", f"{duration(whole)} in all."),
        tag("div", bar, class_="share", aria_hidden="true") if stages else "",
        table(("stage", "time", "share"), rows, numbers=(1, 2)) if stages else "",
    )


def _input(summary: RunSummary) -> str:
    if summary.arch is None:
        return "(B, C, H, W)"
    stem = summary.arch.stem
    return f"(B, {stem.channels}, {stem.image[0]}, {stem.image[1]})"
