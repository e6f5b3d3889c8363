"""Calibrate methods on a prior that others trained: are their fills as diverse as they should be?

pip install --no-deps galaxygrad==0.1.9
python examples/calibrate_foreign.py hsc_ScoreNet64 --schedule fast --schedule best --out rows.jsonl

The networks are those of examples/galaxies.py, or `elevation` of examples/onnx_prior.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import galaxies
import onnx_prior
from repaint.lab.calibration.calibration_run import CalibrationRun
from repaint.sampling.method import as_methods


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="ZTF_ScoreNet32, hsc_ScoreNet64, lsst_ScoreNet60, ..., or elevation")
    parser.add_argument("--schedule", action="append", required=True, help="preset or YAML file; may be repeated")
    parser.add_argument("--count", type=int, default=192, help="number of holes")
    parser.add_argument("--samples", type=int, default=4, help="fills of each hole")
    parser.add_argument(
        "--batch", type=int, default=1, help="holes at once; on a CPU, 1 is the fastest for these networks"
    )
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    prior = onnx_prior.load() if args.network == "elevation" else galaxies.load(args.network)
    methods = list(as_methods(args.schedule).values())
    run = CalibrationRun(prior, methods, args.out, count=args.count, samples=args.samples, cache=args.cache)
    run.fill(args.batch)
    for name, reason in run.diverged.items():
        print(f"{name} is left out, because it diverged: {reason}")
    for each in run.summary():
        shares, gap = ", ".join(f"{share:.2f}" for share in each.smooth.shares), each.against
        difference = "" if gap is None else f" {gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"
        kinds = ", ".join(f"{kind} {value:.2f}" for kind, value in each.kinds.items())
        print(
            f"{each.schedule:16} {each.model_calls:5} calls  energy {each.energy:6.2f}{difference}  spread/error "
            f"{each.ratio:.2f} [{each.ratio_low:.2f}, {each.ratio_high:.2f}]  ranks {shares}  {kinds}"
        )


if __name__ == "__main__":
    main()
