"""The command `covidcxr`: a lazy table of commands, and the border where errors become exit codes."""

from __future__ import annotations

import errno
import importlib
import importlib.abc
import os
import sys
import traceback

import click

from covidcxr_tf import __version__
from covidcxr_tf.errors import CovidcxrError, RunFailed, UsageError

#: What a disk can do to a run: full, over quota, read-only, not ours.
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
#: A file where a folder was meant, or the other way round: most often an unusable --out.
PLACE_FAULTS = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)

# name -> (module with a click command called `command`, one-line help). The help stands here so that the
# root help loads no command: importing each to print its summary is what makes lazy groups slow.
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("covidcxr_tf.cli.list", "Names of architectures, configs, explainers, sources, audits."),
    "show": ("covidcxr_tf.cli.show", "A resolved config and where each value comes from."),
    "data": ("covidcxr_tf.cli.data", "Make, import, check and split manifests."),
    "segment": ("covidcxr_tf.cli.segment", "Find the lungs: masks, quality, overlays."),
    "enhance": ("covidcxr_tf.cli.enhance", "CLAHE, BEASF, equalisation of one film."),
    "prepare": ("covidcxr_tf.cli.prepare", "Films and a config to cached training shards."),
    "train": ("covidcxr_tf.cli.train", "Train a model; writes a run folder."),
    "predict": ("covidcxr_tf.cli.predict", "Films to a table of probabilities."),
    "evaluate": ("covidcxr_tf.cli.evaluate", "Metrics with intervals, ROC, calibration."),
    "compare": ("covidcxr_tf.cli.compare", "Several models on the same films: DeLong, intervals, Bonferroni."),
    "explain": ("covidcxr_tf.cli.explain", "Heat maps beside the bare film."),
    "audit": ("covidcxr_tf.cli.audit", "Whether a model tells disease, or something else."),
    "report": ("covidcxr_tf.cli.report", "A run folder as one HTML page, with checklists."),
    "export": ("covidcxr_tf.cli.export", "A trained run as SavedModel for TensorFlow Serving or `serve`."),
    "biomarkers": ("covidcxr_tf.cli.biomarkers", "Lung intensity, cardiothoracic ratio, tests between classes."),
    "ensemble": ("covidcxr_tf.cli.ensemble", "Several runs to one: mean of logits."),
    "papers": ("covidcxr_tf.cli.papers", "What the five papers print, with locators."),
    "reproduce": ("covidcxr_tf.cli.reproduce", "A paper's experiments, measured values beside the printed ones."),
    "serve": ("covidcxr_tf.cli.serve", "An exported model over REST and gRPC, and a page."),
    "weights": ("covidcxr_tf.cli.weights", "Convert and verify weight files."),
    "listen": ("covidcxr_tf.cli.listen", "A DICOM node: films come, results go to an archive."),
    "doctor": ("covidcxr_tf.cli.doctor", "Versions, devices, shipped models, what is missing."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when one of them is asked for."""

    def __init__(self, *args: object, commands_table: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.commands_table = commands_table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self.commands_table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.commands_table:
            return None
        return importlib.import_module(self.commands_table[cmd_name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.commands_table.items()])


class QuietImport(importlib.abc.MetaPathFinder):
    """Silences what TensorFlow's C++ side prints while it is imported, before any log level reaches it.

    Twelve lines on oneDNN and CUDA above each answer hide the answer. An import that fails is repeated aloud.
    """

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Import ``tensorflow`` with stderr turned away on its first mention; never find anything itself."""
        if fullname != "tensorflow" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            importlib.import_module("tensorflow")
        except ImportError:
            sys.modules.pop("tensorflow", None)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        return None


@click.group(cls=LazyGroup, commands_table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="covidcxr")
def cli() -> None:
    """Chest X-rays of the COVID-19 literature: train, judge, look into. For research, never for diagnosis."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with the code that `CovidcxrError` kinds carry."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.meta_path.insert(0, QuietImport())
    try:
        code = cli.main(args=argv, prog_name="covidcxr", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as wrong:
        wrong.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except CovidcxrError as known:
        click.echo(f"error: {known}", err=True)
        code = known.exit_code
    except SystemExit:
        # Click's own answer to a broken pipe, and nothing else's here: in `covidcxr list | head` the reader has
        # gone, which is no defect of ours.
        code = 0
    except OSError as fault:
        if fault.errno not in (*DISK_FAULTS, *PLACE_FAULTS):
            code = _defect()
        else:
            click.echo(f"error: {fault.filename or 'output'}: {fault.strerror}", err=True)
            code = RunFailed.exit_code if fault.errno in DISK_FAULTS else UsageError.exit_code
    except Exception:
        code = _defect()
    sys.exit(code if isinstance(code, int) else 0)


def _defect() -> int:
    traceback.print_exc()
    click.echo("error: this is a defect of covidcxr; please report it with the lines above", err=True)
    return 1


if __name__ == "__main__":
    main()
