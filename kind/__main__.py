"""The platform on Kubernetes, in a kind cluster on this machine: ``python3 -m kind up``.

Needs Docker, and of Python the standard library. FTI_CLUSTER names another cluster than `fti`, FTI_PORT_OFFSET moves its
ports, so that two run side by side.

Exit codes: 0 done, 1 it failed, 2 something on this machine or in the call must be mended first, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from compose.stack import StackError, check_engine
from kind import cluster, commands, doctor, job, release, run, show, tools, up
from kind.airflow import Airflow
from kind.commands import Cluster, Say


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # a console without ✓ shows something else
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    say: Say = partial(print, file=sys.stderr if getattr(options, "json", False) else sys.stdout, flush=True)
    try:
        return int(options.work(Cluster.from_env(), options, say) or 0)
    except StackError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        commands.stop()
        print(f"Interrupted; {options.then}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # what reads us has seen enough
        sys.stdout = None
        return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser("python3 -m kind", description=(__doc__ or "").splitlines()[0])
    verbs = result.add_subparsers(dest="verb", required=True)

    def verb(
        name: str, work: Callable[..., int | None], help: str, then: str = "the same call goes on from here."
    ) -> Any:
        added = verbs.add_parser(name, help=help, description=help)
        added.set_defaults(work=work, then=then)
        return added

    verb("tools", _tools, "bring kind, kubectl and helm into .tools/bin")
    for name, work, help in (
        ("up", _up, "make the platform work: cluster, images, release"),
        ("reset", _reset, "throw the release and all data away, keep cluster and images, and install anew"),
    ):
        added = verb(name, work, help)
        added.add_argument("--json", action="store_true", help="print what there is to know as JSON")
        added.add_argument("--serve", action="store_true", help="with the features over HTTP")
    verb("down", _down, "delete the cluster and all data in it")
    verb("login", _login, "show the logins, passwords too")
    added = verb("job", _job, "build one job's image; the cluster's next pods run it")
    added.add_argument("job", choices=job.JOBS)
    added = verb("logs", _logs, "show the log of a job's newest pod", "")
    added.add_argument("job", help="such as bronze")
    added.add_argument("--follow", action="store_true", help="until the job ends")
    verb("status", _status, "show nodes, pods, claims and the last runs")
    added = verb("run", _run, "run the pipeline for a day, or for days", "the run goes on: see `make status`.")
    added.add_argument("date", help="first day, such as 2026-01-01")
    added.add_argument("--end", help="the day after the last; default: the day after the first")
    added.add_argument("--cards", type=int, help="synthetic cards")
    added.add_argument("--seed", type=int, help="the same seed gives the same transactions")
    added.add_argument("--format", help="form of landing files: jsonl, jsonl.gz, csv, csv.gz")
    added.add_argument("--generate", type=_truth, help="false when a real exporter feeds the landing zone")
    added.add_argument("--snapshot", help="this day's landing also holds the full card and merchant tables")
    added.add_argument("--max-bad-share", type=float, help="share of bad lines above which bronze refuses")
    verb("card", _card, "show a card's online features").add_argument("--card", help="its card_id; default: picks one")
    verb("doctor", _doctor, "collect what helps to find a fault into one zip, no password in it")
    return result


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _tools(_: Cluster, __: argparse.Namespace, say: Say) -> None:
    say(f"In {commands.BIN.relative_to(commands.ROOT)}: {tools.ensure(say)}.")


def _up(ours: Cluster, options: argparse.Namespace, say: Say) -> None:
    found = up.up(ours, say, options.serve)
    print(json.dumps(found) if options.json else f"\n{up.table(found)}")


def _reset(ours: Cluster, options: argparse.Namespace, say: Say) -> None:
    _with_cluster(ours)
    say("Deleting the release, both namespaces and their data")
    release.remove(ours)
    _up(ours, options, say)


def _down(ours: Cluster, _: argparse.Namespace, say: Say) -> None:
    check_engine()
    tools.ensure(say)
    existed = cluster.delete(ours)
    say(
        f"The cluster {ours.name} is gone, with its data, its images and its context {ours.context}."
        if existed
        else f"There was no cluster {ours.name}; nothing of one is left."
    )


def _login(ours: Cluster, _: argparse.Namespace, say: Say) -> None:
    _with_platform(ours)
    say(show.login(ours))


def _job(ours: Cluster, options: argparse.Namespace, say: Say) -> None:
    _with_platform(ours)
    job.renew(ours, options.job, say)


def _logs(ours: Cluster, options: argparse.Namespace, _: Say) -> None:
    _with_platform(ours)
    show.logs(ours, options.job, options.follow)


def _status(ours: Cluster, _: argparse.Namespace, say: Say) -> None:
    _with_platform(ours)
    say(show.status(ours))


def _run(ours: Cluster, options: argparse.Namespace, say: Say) -> int:
    start, end = run.days(options.date, options.end)
    given = {
        name: getattr(options, name) for name in ("cards", "seed", "format", "generate", "snapshot", "max_bad_share")
    }
    _with_platform(ours)
    return run.run(
        Airflow.of(ours), start, end, {name: value for name, value in given.items() if value is not None}, say
    )


def _card(ours: Cluster, options: argparse.Namespace, _: Say) -> None:
    _with_platform(ours)
    show.card(ours, options.card)


def _doctor(ours: Cluster, _: argparse.Namespace, say: Say) -> None:
    say(doctor.write(ours))


def _with_cluster(ours: Cluster) -> None:
    check_engine()
    ours.require()


def _with_platform(ours: Cluster) -> None:
    check_engine()
    release.require(ours)


if __name__ == "__main__":
    sys.exit(main())
