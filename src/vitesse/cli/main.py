"""The command line: one verb a file, heavy imports only when a verb runs, and four exit codes."""

from __future__ import annotations

import difflib
import errno
import inspect
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from vitesse import __version__
from vitesse.errors import UsageError, VitesseError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

# What each verb does; it is the class of its name in the module of its name (search-space: SearchSpace, search_space).
VERBS = {
    "shrink": "from images and a budget to a small network: the main job",
    "train": "train one network, with a teacher or without",
    "supernet": "train the supernet of a space",
    "search-space": "move the space to where the better networks are",
    "search": "find the best subnet of a supernet within a budget",
    "multiplex": "make the blocks of a trained network share weights",
    "distill": "teach one network what another knows, of whatever kind",
    "logits": "store what a teacher says about training images: write, info, verify, merge, convert",
    "export": "write a network as ONNX, checked against itself",
    "bench": "time networks against each other on this device",
    "predict": "say what is on an image",
    "serve": "answer images over HTTP, within limits; with a page to try it",
    "convert": "turn a vision transformer of timm into a network of Vitesse",
    "models": "list the published models, with their figures",
    "report": "write the page of a run again",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `vitesse` with the arguments of the process, and end it with an exit code: 0, 1, 2 or 130."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Do what the arguments say; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return DONE
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"vitesse {__version__}\n")
        return DONE
    try:
        do(arguments[0], arguments[1:])
        sys.stdout.flush()
    except UsageError as error:
        return _failed(error, USAGE)
    except VitesseError as error:
        return _failed(error, FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Start the same command again to go on.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the results, such as `head`, has gone; Python's own last flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _failed(VitesseError("No space left on the disk. Free some, and start the same command again."), FAILED)
    return DONE


def overview() -> str:
    """What `vitesse --help` says."""
    lines = [f"  {verb:<12} {what}" for verb, what in VERBS.items()]
    return "\n".join(
        [
            "Vitesse makes vision transformers small and fast.",
            "",
            "  vitesse shrink --data digits --max-params 60k --out runs/digits",
            "",
            "Verbs (vitesse VERB --help teaches each):",
            *lines,
            "",
        ]
    )


def do(verb: str, arguments: list[str]) -> None:
    """Run a verb with its arguments; ends the process with 2 where they are wrong."""
    import tyro

    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1, cutoff=0.0)[0]
        raise UsageError(f"There is no verb {verb!r}. Did you mean {near}? vitesse --help lists them all.")
    module = import_module(f"vitesse.cli.{verb.replace('-', '_')}")
    kind = getattr(module, verb.title().replace("-", ""))
    within = getattr(module, "VERBS", {})  # of a verb that has verbs of its own
    if arguments and arguments[0] in within:
        kind, verb, arguments = within[arguments[0]], f"{verb} {arguments[0]}", arguments[1:]
    plain = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)  # no --no-json, no {None}
    # The docstring is given as it stands: read as a docstring, its examples would be left out.
    about = inspect.getdoc(kind)
    tyro.cli(kind, args=arguments, prog=f"vitesse {verb}", description=about, config=plain).run()


def _failed(error: VitesseError, code: int) -> int:
    sys.stderr.write(f"vitesse: {error}\n")
    return code
