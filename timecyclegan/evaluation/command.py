"""What the commands ``compute_...`` do: two sides compared frame by frame, or as two sets by their features."""
import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from timecyclegan.evaluation.base import PAIRED, PER_PAIR, UNCONDITIONAL, UNPAIRED, Metric, Settings, View
from timecyclegan.evaluation.evaluate import KINDS, Evaluator, Job, Sequences, choose, measure, versions
from timecyclegan.evaluation.features.frechet import FrechetMetric, Statistics, few, frechet_distance
from timecyclegan.evaluation.features.inception import BLOCKS
from timecyclegan.evaluation.flow import estimator
from timecyclegan.evaluation.report import format_metrics, per_frame_csv
from timecyclegan.flow import BACKENDS
from timecyclegan.util.argparser import Parser
from timecyclegan.util.device import gpu_number
from timecyclegan.util.errors import UserError, command, note
from timecyclegan.util.files import check_writable, write_json
from timecyclegan.util.options import path_text
from timecyclegan.video.frames import IMAGE_SUFFIXES, find_sequences, natural_key
from timecyclegan.video.reader import VIDEO_SUFFIXES

LIBRARIES = ("av", "numpy", "pillow", "torch", "torchvision", "pytorch-fid")
STATISTICS = ".npz"
RESULTS = re.compile(r"epoch\d+|source_to_target|target_to_source")  # folders in results/NAME that have results, too
VIDEOS = "videos"  # the one of their videos


def find_results(root: str | Path, partner: str | Path | None = None) -> Sequences:
    """The sequences of a folder, without the other results (epochs, directions) and videos in ``results/NAME``.

    A note names what is left out.

    Args:
        partner: the folder that it is compared with.

    Raises:
        UserError: see :func:`find_sequences`; or there are several other results and nothing else.
    """
    def pictures(path: Path) -> bool:
        return any(each.suffix.lower() in IMAGE_SUFFIXES for each in (path, *path.rglob("*")))

    try:
        inside = sorted(Path(root).iterdir(), key=lambda path: natural_key(path.name))
        others = [path for path in inside if RESULTS.fullmatch(path.name) and path.is_dir()]
        videos = [path for path in inside
                  if path.suffix.lower() in VIDEO_SUFFIXES or (path.name == VIDEOS and not pictures(path))]
        own = any(pictures(path) for path in inside if path not in others + videos)
    except OSError:  # it is a video, or cannot be read, which is said below
        return find_sequences(root)
    names = [path.name for path in others + videos]
    if not own:  # sequences may be called so
        if len(others) > 1 and pictures(others[0]) and not (
                partner and all(Path(partner, path.name).is_dir() for path in others)):
            raise UserError(f"{root} holds several results: {', '.join(path.name for path in others)}; give the folder "
                            "of one")
        return find_sequences(root)
    if names:
        note(f"{root}: left out are {', '.join(names)}, which hold other results; give the folder of one to "
             "measure it")
    return find_sequences(root, without=names)


def _parser(prog: str, description: str) -> argparse.ArgumentParser:
    return Parser(prog=f"python -m timecyclegan.evaluation.{prog}", description=description,
                  formatter_class=argparse.RawDescriptionHelpFormatter)


def _parsed(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """What was given, with all paths as ``util.names.user_path`` reads them."""
    args = parser.parse_args(arguments)
    for name in ("real", "fake", "source", "flow", "flow_weights", "json", "per_frame", "save_stats"):
        if (given := getattr(args, name, None)) is None:
            continue
        if not given and name in ("real", "fake", "source"):  # of a variable that is not set, say; "" would be here
            raise UserError(f"{'--source' if name == 'source' else name.upper()} is empty: give a folder or a video")
        setattr(args, name, path_text(given))
    written = [name for name in ("save_stats", "json", "per_frame") if getattr(args, name, None)]
    for one, two in combinations(written, 2):
        if Path(getattr(args, one)).absolute() == Path(getattr(args, two)).absolute():
            raise UserError(f"--{one} and --{two} are both {getattr(args, one)}: give two files")
    return args


def _frames_parser(prog: str, description: str, metrics: Sequence[type[Metric]],
                   by_name: bool) -> argparse.ArgumentParser:
    """The flags that do something for one of the metrics; the others have their defaults."""
    parser = _parser(prog, description)
    defined = {kind: any(not rules.missing(metric) for metric in metrics) for kind, rules in KINDS.items()}
    none = "; - where there are none (then --source)" * defined[UNPAIRED]
    parser.add_argument("real", metavar="REAL", help="real frames: a folder with one folder or video file a sequence, "
                        f"a folder of frames, or a video file{none}")
    parser.add_argument("fake", metavar="FAKE", help="generated frames, the same sequences")
    if defined[UNPAIRED]:
        uses = ["temporal metrics compare with it"] * any(metric.over == PER_PAIR for metric in metrics)
        if sets := [metric.title for metric in metrics if metric.of_sets]:
            uses.append(f"REAL is then any real pictures, for {', '.join(sets)}")
        parser.add_argument("--source", metavar="SRC", help="what FAKE was translated from, by an unpaired model: "
                            + "; ".join(uses))
    if defined[UNCONDITIONAL]:
        parser.add_argument("--unconditional", action="store_true", help="FAKE was made from nothing: REAL is any real "
                            "clips, and sets are compared")
    if true := [metric.title for metric in metrics if metric.true_flow]:
        parser.add_argument("--flow", metavar="DIR", help="true flow of the real clip (or SRC), for "
                            + ", ".join(true))
    estimated = any("{flow}" in metric.definition for metric in metrics)
    if estimated:
        parser.add_argument("--flow_backend", metavar="NAME", help="what estimates flow, where there is no true one: "
                            "auto, " + ", ".join(BACKENDS) + " (default: farneback)")
        parser.add_argument("--flow_weights", metavar="FILE", help="its weights, else looked for in torch hub's cache")
    if estimated or any(metric.view for metric in metrics):
        parser.add_argument("--gpu", type=gpu_number, help="of networks; -1 is the CPU")
    if any("{dims}" in metric.definition for metric in metrics):
        parser.add_argument("--fid_dims", type=int, choices=BLOCKS, help="which of Inception's features FID compares "
                            "(default: 2048)")
    parser.add_argument("--resize", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="bring all frames to this "
                        "size first, bicubic (default: real frames get the size of the generated ones)")
    parser.add_argument("--json", metavar="FILE", help="write everything, per frame too, to this file")
    parser.add_argument("--per_frame", metavar="FILE", help="write a CSV with a row per frame to this file")
    if by_name:
        usual = [metric.name for metric in metrics if metric.by_default]
        parser.add_argument("--only", nargs="+", metavar="NAME", help="of " + ", ".join(usual))
        parser.add_argument("--also", nargs="+", metavar="NAME", help="of " + ", ".join(
            metric.name for metric in metrics if PAIRED not in metric.by_default))
    parser.add_argument("--require", nargs="+", metavar="NAME", help="metrics whose absence is an error")
    parser.set_defaults(source=None, unconditional=False, flow=None, flow_backend="farneback", flow_weights="", gpu=0,
                        fid_dims=2048, only=None, also=(), require=())  # those it lacks too
    return parser


@command
def compare_frames(prog: str, description: str, metrics: Sequence[type[Metric]], arguments: list[str] | None = None,
                   by_name: bool = False) -> None:
    """Carry out a command that compares frames: print the metrics, and write them to files if asked to.

    Args:
        prog, description: what the help calls the command.
        by_name: ``--only`` and ``--also`` choose among the metrics; else all are computed.

    Raises:
        UserError: as :class:`Evaluator`, and for flags that do not go together.
    """
    args = _parsed(_frames_parser(prog, description, metrics, by_name), arguments)
    if args.flow and not Path(args.flow).is_dir():
        wrong = "is a file" if Path(args.flow).exists() else "does not exist"
        raise UserError(f"flow folder {args.flow} {wrong}; give the one with a folder of .npz files for each sequence")
    if args.unconditional and (args.flow or args.source):
        raise UserError(f"--{'flow' if args.flow else 'source'} has no use for --unconditional: no real clip shows "
                        "what a generated one should")
    if args.real == "-" and not args.source:
        unpaired = any(not KINDS[UNPAIRED].missing(metric) for metric in metrics)
        raise UserError("REAL is -: without real frames, --source SRC must say what the generated ones were made from"
                        if unpaired else "REAL is -: expected real frames, which this metric compares with")
    if args.resize and min(args.resize) < 1:
        raise UserError(f"--resize {args.resize[0]} {args.resize[1]}: expected a height and a width above 0")
    kind = UNCONDITIONAL if args.unconditional else UNPAIRED if args.source else PAIRED
    settings = Settings(estimator(args.flow_backend, args.flow_weights, args.gpu), args.gpu, args.fid_dims,
                        args.resize and tuple(args.resize), progress=sys.stderr.isatty())
    clips = args.source or args.real
    for file in filter(None, (args.json, args.per_frame)):  # not only after everything was computed
        check_writable(file)
    found, fake = find_results(clips, args.fake), find_results(args.fake, clips)
    images = find_results(args.real) if args.source and args.real != "-" else None
    # Names of metrics have commas or spaces between them.
    only, also, require = (names and [name for name in ",".join(names).split(",") if name]
                           for names in (args.only, args.also, args.require))
    chosen = choose(metrics, kind, only, also, require)
    evaluator = Evaluator(chosen, kind, settings, require, images=args.real != "-")
    evaluator.check_any()
    if len(found) == len(fake) == 1:  # a video beside a folder, say: they are meant whatever their names
        fake = dict(zip(found, fake.values(), strict=True))
    evaluation = evaluator(found, fake, args.flow, images, roots=(clips, args.fake))
    evaluation = replace(evaluation, facts={"real": args.real, "fake": args.fake, "source": args.source,
                                            "flow_dir": args.flow})
    print(format_metrics(evaluation))
    if args.json:
        write_json(args.json, evaluation.to_json())
    if args.per_frame:
        per_frame_csv(evaluation, fake, args.per_frame)
    evaluator.check_required(evaluation)  # last: what could be computed is written by now


@command
def compare_sets(prog: str, description: str, metric: type[FrechetMetric], arguments: list[str] | None = None) -> None:
    """Carry out a command that compares two sets of pictures or clips, in any numbers, or saved statistics of them.

    Raises:
        UserError: flags that do not go together, nothing that can be read, sets that do not compare.
    """
    parser = _parser(prog, description)
    kinds = "a folder (of frames, or of folders or video files), a video file, or saved statistics (.npz)"
    parser.add_argument("real", metavar="REAL", help=kinds)
    parser.add_argument("fake", metavar="FAKE", nargs="?", help="the same; counts, sizes and names need not match "
                        "REAL's. Without it, --save_stats saves those of REAL and nothing is compared")
    parser.add_argument("--save_stats", metavar="FILE.npz", help="write REAL's statistics, to give in its place later "
                        "(pytorch-fid reads them too)")
    parser.add_argument("--gpu", type=gpu_number, default=0, help="-1 is the CPU, also used where there is no GPU")
    parser.add_argument("--json", metavar="FILE", help="write the value, its terms and all that it depends on")
    if "{dims}" in metric.definition:
        parser.add_argument("--dims", type=int, choices=BLOCKS, default=2048, help="which of Inception's features are "
                            "compared (default: 2048)")
    args = _parsed(parser, arguments)
    if args.save_stats and Path(args.save_stats).suffix.lower() != STATISTICS:
        raise UserError(f"--save_stats {args.save_stats}: expected a file name that ends in {STATISTICS}")
    if args.fake is None and not args.save_stats:
        raise UserError("there is nothing to do: give FAKE to compare REAL with, or --save_stats FILE.npz")
    for file in filter(None, (args.save_stats, args.json)):
        check_writable(file)
    for root in filter(None, (args.real, args.fake)):  # not only after the other one was computed
        if not Path(root).exists():
            raise UserError(f"{root} does not exist; expected a folder, a video file, or saved statistics (.npz)")
    view = cache(lambda: metric.view(Settings(gpu=args.gpu, fid_dims=getattr(args, "dims", 2048))))
    real, about_real = _statistics(args.real, metric, view)
    if args.save_stats:
        real.save(args.save_stats)
        print(f"wrote {args.save_stats}: {real.n} x {real.dims}")
    if args.fake is None:
        return
    fake, about_fake = _statistics(args.fake, metric, view)
    found = {"definition": metric.definition.format(dims=real.dims), "better": metric.better,
             **asdict(frechet_distance(real, fake)), "dims": real.dims, "real": about_real, "fake": about_fake,
             "note": few(real.n, fake.n, real.dims, metric.what),
             "extractor": dict(real.facts or fake.facts), "libraries": versions(LIBRARIES)}
    print(f"{metric.title} {found['value']:.8g}   {found['definition']}, of {real.n or 'unknown'} real and "
          f"{fake.n or 'unknown'} generated")
    for side in (about_real, about_fake):
        if side.get("too_short"):
            print(f"{side['too_short']} of {side['sequences']} sequences of {side['path']} are shorter than a clip and "
                  "were left out")
    if found["note"]:
        note(found["note"])
    if args.json:
        write_json(args.json, found)


def _statistics(root: str, metric: type[FrechetMetric],
                view: Callable[[], View]) -> tuple[Statistics, dict[str, Any]]:
    """The statistics of a folder, a video file, or saved ones, and where they are from, JSON-ready.

    Raises:
        UserError: ``root`` holds nothing that can be read, or no sequence is as long as a clip.
    """
    if Path(root).suffix.lower() == STATISTICS:
        statistics = Statistics.load(root)
        return statistics, {"path": root, "n": statistics.n, "saved": True}
    sequences = find_results(root)
    lengths = [len(frames) for frames in sequences.values()]
    if max(lengths) < metric.clip:
        raise UserError(f"{root} has no sequence of {metric.clip} frames, the longest has {max(lengths)}")
    jobs = [Job(name, path, t == 0) for name, frames in sequences.items() for t, path in enumerate(frames)]
    seen = metric()
    measure(jobs, [seen], {metric.view: view()}, progress=sys.stderr.isatty(), one_size=False)
    statistics = replace(seen.fake.statistics, facts=view().facts)
    return statistics, {"path": root, "n": statistics.n, "sequences": len(lengths), "frames": sum(lengths),
                        "too_short": sum(length < metric.clip for length in lengths), "saved": False}
