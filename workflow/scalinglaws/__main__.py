"""``python -m scalinglaws STAGE …``: every stage by hand, as the rules call it. ``--help`` lists them."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys

from scalinglaws.common.errors import StudyError

# stage: (module, suffix of its add_arguments and main, what it does)
STAGES = {
    "run": ("dag.launch", "", "run a study to figures, with progress; what was stopped goes on"),
    "plan": ("decide.plan", "_plan", "show what a study would train, what is there, and what it costs"),
    "prune": ("decide.plan", "_prune", "delete the rungs that no unfinished run needs"),
    "schema": ("decide.plan", "_schema", "write the JSON schema of config.yaml"),
    "corpus": ("data.corpus", "", "text in: passages, splits, duplicates"),
    "tokenizer": ("data.tokenizer", "_tokenizer", "train or copy a tokenizer"),
    "tokenize": ("data.tokenize", "_tokenize", "passages to token files"),
    "rung": ("train.run", "_rung", "train a trunk to a rung of the ladder"),
    "train": ("train.run", "_train", "train a run"),
    "bundle": ("cluster.bundle_job", "", "train many small runs, several at a time"),
    "member": ("cluster.member_job", "", "train one trunk's runs of a bundle"),
    "evaluate": ("evaluate.evaluate", "", "loss of a run on corpora and by position"),
    "aggregate": ("tables.aggregate", "", "tables of all runs"),
    "fit": ("laws.command", "", "fit a law to a table of runs"),
    "figure": ("figures.command", "_figure", "draw a figure"),
    "exponents": ("report.command", "_exponents", "fitted beside published exponents"),
    "report": ("report.command", "_report", "the study on one page: the paper's tables with its numbers"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a stage. Exit status 1 and one message for a user's mistake, 2 for a wrong command line."""
    argv = sys.argv[1:] if argv is None else argv
    listed = "\n".join(f"  {stage:<11}{what}" for stage, (_, _, what) in STAGES.items())
    parser = argparse.ArgumentParser(
        prog="python -m scalinglaws",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"stages (each has --help):\n{listed}",
    )
    parser.add_argument("stage", choices=STAGES, metavar="STAGE")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    stage = parser.parse_args(argv[:1]).stage
    name, suffix, what = STAGES[stage]
    module = importlib.import_module(f"scalinglaws.{name}")
    own = argparse.ArgumentParser(prog=f"python -m scalinglaws {stage}", description=module.__doc__ or what)
    getattr(module, f"add{suffix}_arguments")(own)
    args = own.parse_args(argv[1:])
    try:
        getattr(module, f"main{suffix}")(args)
    except StudyError as error:
        print(f"scalinglaws {stage}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(
            f"scalinglaws {stage}: the disk is full ({error.filename or 'results'}): free space and run again",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"scalinglaws {stage}: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
