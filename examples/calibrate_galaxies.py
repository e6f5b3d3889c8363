"""Calibrate methods on the galaxy priors of examples/galaxies.py: are their fills as diverse as they should be?

pip install --no-deps galaxygrad==0.1.9
python examples/calibrate_galaxies.py --network hsc_ScoreNet32 --schedule fast --schedule best --out rows.jsonl
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from galaxies import load
from repaint.lab.calibration.calibration_summary import calibrations
from repaint.lab.calibration.hole_kinds import HOLE_KINDS
from repaint.lab.calibration.scored_fills import fill_batches, fill_cells, score_batch
from repaint.lab.calibration.truths import fingerprint, prior_truths, sample_shape
from repaint.lab.sweep.rows import Rows
from repaint.sampling.method import as_method


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="hsc_ScoreNet32")
    parser.add_argument("--schedule", action="append", required=True, help="preset or YAML file; may be repeated")
    parser.add_argument("--count", type=int, default=192, help="number of holes")
    parser.add_argument("--samples", type=int, default=4, help="fills of each hole")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    prior = load(args.network)
    shape = sample_shape(prior, prior.preferred_size)
    truths = prior_truths(prior, shape, args.count, cache=args.cache)
    methods = [as_method(name) for name in args.schedule]
    facts = {"prior": fingerprint(prior, shape), "network": args.network}
    cells = fill_cells(methods, list(HOLE_KINDS), args.count, args.samples, seed=0, facts=facts)
    rows = Rows(args.out, {cell.key: cell.config for cell in cells})
    for batch in fill_batches(cells, args.batch):
        if rows.lacks(batch):
            rows.append(score_batch(prior, truths, batch))
    for each in calibrations([rows.found[cell.key] for cell in cells]):
        shares = ", ".join(f"{share:.2f}" for share in each.smooth.shares)
        gap = each.against
        difference = "" if gap is None else f" {gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"
        print(
            f"{each.schedule:24} {each.model_calls:5} calls  energy {each.energy:6.2f}{difference}  "
            f"spread/error {each.ratio:.2f} [{each.ratio_low:.2f}, {each.ratio_high:.2f}]  ranks {shares}",
            flush=True,
        )
        print(json.dumps(asdict(each)["kinds"]))


if __name__ == "__main__":
    main()
