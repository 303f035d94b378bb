"""The whole evaluation of generated frames: two folders or video files, made by whatever method.

    python -m timecyclegan.evaluation.compute_metrics REAL FAKE                  paired: frame beside frame
    python -m timecyclegan.evaluation.compute_metrics REAL FAKE --source SRC     unpaired: FAKE was made from SRC
    python -m timecyclegan.evaluation.compute_metrics - FAKE --source SRC        the same without real pictures
    python -m timecyclegan.evaluation.compute_metrics REAL FAKE --unconditional  two sets of clips
"""
import argparse
import sys
from collections.abc import Collection
from pathlib import Path

from timecyclegan.evaluation.evaluate import BY_NAME, METRICS, Evaluator
from timecyclegan.evaluation.flow import estimator
from timecyclegan.evaluation.report import format_metrics, per_frame_csv
from timecyclegan.evaluation.settings import Settings
from timecyclegan.flow import BACKENDS
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import write_json
from timecyclegan.video.frames import find_sequences


def add_options(parser: argparse.ArgumentParser) -> None:
    """The flags that are not about which metrics."""
    parser.add_argument("real", help="real frames: a folder with one folder or video file per sequence, a folder of "
                        "frames, or a video file; - where there are none (then --source)")
    parser.add_argument("fake", help="generated frames, the same sequences")
    parser.add_argument("--source", metavar="SRC", help="what FAKE was translated from, by an unpaired model: temporal "
                        "metrics compare with it; REAL is then any real pictures, for FID")
    parser.add_argument("--unconditional", action="store_true", help="FAKE was made from nothing: REAL is any real "
                        "clips, and sets are compared")
    parser.add_argument("--flow", metavar="DIR", help="true flow of the real clip (or SRC), for E_warp")
    parser.add_argument("--flow_backend", metavar="NAME", default="farneback", help="what estimates flow, for tOF and "
                        "(where there is no true flow) E_warp: auto, " + ", ".join(BACKENDS) + " (default: farneback)")
    parser.add_argument("--flow_weights", metavar="FILE", default="", help="its weights, else looked for in torch "
                        "hub's cache")
    parser.add_argument("--gpu", type=int, default=0, help="of networks; -1 is the CPU")
    parser.add_argument("--fid_dims", type=int, choices=(64, 192, 768, 2048), default=2048, help="which of "
                        "Inception's features FID compares (default: 2048)")
    parser.add_argument("--resize", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="bring all frames to this "
                        "size first, bicubic (default: real frames get the size of the generated ones)")
    parser.add_argument("--json", metavar="FILE", help="write everything, per frame too, to this file")
    parser.add_argument("--per_frame", metavar="FILE", help="write a CSV with a row per frame to this file")


class _Names(argparse.Action):
    """Names of metrics, with commas or spaces between them."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, [name for value in values for name in value.split(",") if name])


@command
def main(arguments: list[str] | None = None, only: Collection[str] | None = None) -> None:
    """Print metrics, all or ``only`` these, and write them to files if asked to."""
    parser = argparse.ArgumentParser(prog="compute_" + ("metrics" if only is None else "_".join(only)),
                                     description="Compare generated with real frames.")
    add_options(parser)
    if only is None:
        parser.add_argument("--only", action=_Names, nargs="+", metavar="NAME", help="of " + ", ".join(
            metric.spec.name for metric in METRICS))
        parser.add_argument("--also", action=_Names, nargs="+", default=[], metavar="NAME", help="of " + ", ".join(
            name for name, metric in BY_NAME.items() if metric not in METRICS))
    parser.add_argument("--require", action=_Names, nargs="+", default=[], metavar="NAME", help="metrics whose absence "
                        "is an error")
    args = parser.parse_args(arguments, argparse.Namespace(only=only, also=[]))
    kind = _kind(args)
    settings = Settings(args.only, args.also, args.require,
                        estimator(args.flow_backend, args.flow_weights, args.gpu), args.gpu, args.fid_dims,
                        args.resize and tuple(args.resize), progress=sys.stderr.isatty())
    clips = args.source or args.real
    found, fake = find_sequences(clips), find_sequences(args.fake)
    images = find_sequences(args.real) if args.source and args.real != "-" else None
    evaluator = Evaluator(kind, settings, images=args.real != "-")
    evaluator.check_any()
    if len(found) == len(fake) == 1:  # a video beside a folder, say: they are meant whatever their names
        fake = dict(zip(found, fake.values(), strict=True))
    evaluation = evaluator(found, fake, args.flow, images, roots=(clips, args.fake))
    evaluation |= {"real": args.real, "fake": args.fake, "source": args.source, "flow_dir": args.flow}
    print(format_metrics(evaluation))
    if args.json:
        write_json(args.json, evaluation)
    if args.per_frame:
        per_frame_csv(evaluation, fake, args.per_frame)
    evaluator.check_required(evaluation)  # last: what could be computed is written by now


def _kind(args: argparse.Namespace) -> str:
    if args.flow and not Path(args.flow).is_dir():
        raise UserError(f"flow folder {args.flow} does not exist")
    if args.unconditional and (args.flow or args.source):
        raise UserError(f"--{'flow' if args.flow else 'source'} has no use for --unconditional: no real clip shows "
                        "what a generated one should")
    if args.real == "-" and not args.source:
        raise UserError("REAL is -: without real frames, --source SRC must say what the generated ones were made from")
    if args.resize and min(args.resize) < 1:
        raise UserError(f"--resize {args.resize[0]} {args.resize[1]}: expected a height and a width above 0")
    return "unconditional" if args.unconditional else "unpaired" if args.source else "paired"


if __name__ == "__main__":
    sys.exit(main())
