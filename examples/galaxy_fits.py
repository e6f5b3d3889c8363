"""Fill the bad pixels of a FITS image with a prior that astronomers trained; values, units and header are kept.

pip install -e ".[examples]"
pip install --no-deps galaxygrad==0.1.9
python examples/galaxy_fits.py image.fits --out filled.fits

Bad pixels are those that are not finite, and those where an extension MASK is not 0. The result has every card and
extension of the input. Its image is the mean of eight fills: good pixels are bit-equal, bad ones are the mean flux. Two
extensions are new: UNCERT, the standard deviation of the fills in the unit of the image (0 at good pixels), and FILLED,
1 where filled.

Without a file, a galaxy is drawn from the prior and damaged first. The prior (see `galaxies.py`) knows
log(1 + flux) / 0.1 at the scale of its survey: --unit is the flux of the image that is 1 there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from repaint import Crop
from repaint.cutouts import window_seed
from repaint.pictures.crop import windows_around
from repaint.sampling.method import as_method
from repaint.sampling.prior import Prior
from repaint.sampling.sampler import Sampler

STRETCH, FAINTEST = 0.1, -0.99  # of the prior; sky noise below -1 has no logarithm


def fill(
    flux: NDArray[Any], bad: NDArray[np.bool_], prior: Prior, *, unit: float = 1.0, samples: int = 8, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of several fills of the bad pixels.

    Args:
        flux: (H, W), at least as large as the images of the prior.
        bad: (H, W), True where the flux is unknown; never read there.
        prior: a model of log(1 + flux / unit) / 0.1.
        unit, samples, seed: see `main`.
    Returns:
        (mean, standard deviation), (H, W) in the unit of the flux; at good pixels the flux and 0.
    """
    side = prior.preferred_size or min(flux.shape)
    if min(flux.shape) < side:
        raise SystemExit(f"The image is {flux.shape}, but the prior needs at least {side} x {side} pixels.")
    safe = np.where(bad, 0, flux).astype(np.float64) / unit
    x0 = torch.from_numpy(np.log1p(np.maximum(safe, FAINTEST)) / STRETCH).to(prior.dtype)
    filler = Sampler(prior, as_method(prior.default_schedule))
    mean, deviation = np.where(bad, 0, flux).astype(np.float64), np.zeros(flux.shape)
    windows = windows_around(bad, Crop(), side, side) if bad.any() else []
    for number, window in enumerate(windows):
        part = x0[window.place][None, None].expand(samples, 1, -1, -1)
        if part.shape[2:] != (side, side):
            raise SystemExit("A hole is larger than the images of the prior with their context. Mask less.")
        known = torch.from_numpy(~bad[window.place])[None, None].expand(part.shape)
        seeds = [window_seed(seed + sample, number) for sample in range(samples)]
        *_, last = filler.run(filler.start(part, known, seeds))
        fills = unit * np.expm1(last.x[:, 0].double().numpy() * STRETCH)
        mean[window.place][window.own] = fills.mean(0)[window.own]
        deviation[window.place][window.own] = fills.std(0, ddof=1)[window.own]
    return mean, deviation


def fill_file(source: Path, out: Path, prior: Prior, **options: Any) -> str:
    """Fill the first image of a FITS file, and write it beside its uncertainty. Returns one line of figures."""
    from astropy.io import fits

    with fits.open(source, lazy_load_hdus=False) as hdus:
        image = next((hdu for hdu in hdus if hdu.header.get("NAXIS") == 2 and hdu.name != "MASK"), None)
        if image is None or image.data.dtype.kind != "f":
            raise SystemExit(f"{source}: the first image must have two axes and floating-point pixels.")
        flux = image.data
        bad = ~np.isfinite(flux)
        if "MASK" in hdus:
            bad |= hdus["MASK"].data != 0
        mean, deviation = fill(flux, bad, prior, **options)
        filled = flux.copy()
        filled[bad] = mean[bad]  # good pixels keep their bits
        image.data = filled
        image.header.add_history(f"repaint: {bad.sum()} bad pixels filled: mean of samples of a diffusion prior.")
        image.header.add_history("repaint: these pixels are generated, not measured; see extensions UNCERT and FILLED.")
        unit = {key: image.header[key] for key in ("BUNIT",) if key in image.header}
        uncertainty = fits.ImageHDU(deviation.astype(np.float32), name="UNCERT")
        uncertainty.header.update(unit)
        hdus.extend([uncertainty, fits.ImageHDU(bad.astype(np.uint8), name="FILLED")])
        hdus.writeto(out, overwrite=True)
    name = unit.get("BUNIT", "units")
    spread = deviation[bad].mean() if bad.any() else 0.0
    return f"{bad.sum()} pixels filled, mean uncertainty {spread:.4g} {name}: {out}"


def draw_file(prior: Prior, path: Path, seed: int = 0) -> NDArray[np.float32]:
    """Write a galaxy drawn from the prior, with a bad column and cosmic rays. Returns the flux without damage."""
    from astropy.io import fits

    side = prior.preferred_size or 64
    drawn = Sampler(prior, as_method("none"))
    nothing = torch.zeros(1, dtype=torch.bool)
    *_, last = drawn.run(drawn.start(torch.zeros(1, 1, side, side), nothing, [seed]))
    truth = np.expm1(last.x[0, 0].numpy() * STRETCH).astype(np.float32)
    flux, mask = truth.copy(), np.zeros((side, side), np.uint8)
    flux[:, side // 2 + 2 : side // 2 + 4] = np.nan
    rng = np.random.default_rng(seed)
    for row, column in rng.integers(4, side - 6, (6, 2)):
        flux[row : row + 2, column : column + 3] = 1e4  # a cosmic ray, flagged below
        mask[row : row + 2, column : column + 3] = 1
    header = fits.Header([("BUNIT", "nJy", "unit of the pixels"), ("EXPTIME", 1200.0), ("FILTER", "HSC-I")])
    primary = fits.PrimaryHDU(flux, header)
    fits.HDUList([primary, fits.ImageHDU(mask, name="MASK")]).writeto(path, overwrite=True)
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path("filled.fits"))
    parser.add_argument("--network", default="hsc_ScoreNet64")
    parser.add_argument("--unit", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="also draw image, fill and uncertainty")
    arguments = parser.parse_args()
    from galaxies import load

    prior, source, truth = load(arguments.network), arguments.source, None
    if source is None:
        source = arguments.out.with_name("damaged.fits")
        truth = draw_file(prior, source, arguments.seed)
    options = {"unit": arguments.unit, "samples": arguments.samples, "seed": arguments.seed + 1}
    print(fill_file(source, arguments.out, prior, **options))
    if truth is not None or arguments.plot:
        report(source, arguments.out, truth, arguments.plot)


def report(source: Path, out: Path, truth: NDArray[np.float32] | None, plot: Path | None) -> None:
    """Compare the result with the truth where it is known, and draw it."""
    from astropy.io import fits

    damaged, filled = fits.getdata(source), fits.getdata(out)
    uncertainty, bad = fits.getdata(out, "UNCERT"), fits.getdata(out, "FILLED") == 1
    if truth is not None:
        error = np.abs(filled - truth)[bad]
        inside = (error < 2 * uncertainty[bad]).mean()
        print(f"error {np.sqrt(np.square(error).mean()):.4g} rms; {inside:.0%} within 2 sigma")
    if plot is not None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 3.2), layout="constrained")
        shown = {"bad pixels": np.where(bad, np.nan, damaged), "mean": filled, "uncertainty": uncertainty}
        shown |= {} if truth is None else {"truth": truth}
        for axes, (title, values) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
            figure.colorbar(axes.imshow(np.arcsinh(values), cmap="viridis"), ax=axes)
            axes.set(title=f"{title} (arcsinh)", xticks=[], yticks=[])
        figure.savefig(plot, dpi=90)


if __name__ == "__main__":
    main()
