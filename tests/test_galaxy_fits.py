"""The FITS example: values, units, header and extensions, with a prior that needs no download."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repaint.testing import PixelByPixelPrior

fits = pytest.importorskip("astropy.io.fits")
EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "galaxy_fits.py"))


@pytest.fixture
def prior() -> Any:
    return PixelByPixelPrior(channels=1, preferred_size=16)


def test_good_pixels_header_and_extensions_are_kept(prior: Any, tmp_path: Path) -> None:
    """If this fails, a measured value, a card or an extension of the file is lost, or bad pixels are read."""
    flux = np.random.default_rng(0).normal(0.1, 0.05, (40, 48)).astype(">f4")
    flux[3, 4], flux[20:22, 30] = np.nan, np.inf
    mask = np.zeros(flux.shape, np.uint8)
    mask[10, 10:13] = 4
    header = fits.Header(
        [("BUNIT", "nJy"), ("EXPTIME", 1200.0, "seconds"), ("CRVAL1", 150.1), ("DATE-OBS", "2026-01-02")]
    )
    table = fits.BinTableHDU.from_columns([fits.Column("ra", "D", array=np.arange(3.0))], name="CAT")
    fits.HDUList([fits.PrimaryHDU(flux, header), fits.ImageHDU(mask, name="MASK"), table]).writeto(tmp_path / "in.fits")
    results = []
    for value in (0.0, 1e6):  # what the bad pixels hold must not matter
        with fits.open(tmp_path / "in.fits") as hdus:
            hdus[0].data[mask != 0] = value
            hdus.writeto(tmp_path / "changed.fits", overwrite=True)
        said = EXAMPLE["fill_file"](tmp_path / "changed.fits", tmp_path / "out.fits", prior, samples=4)
        assert said.startswith("6 pixels filled")
        with fits.open(tmp_path / "out.fits") as out:
            assert [hdu.name for hdu in out] == ["PRIMARY", "MASK", "CAT", "UNCERT", "FILLED"]
            assert {key: out[0].header[key] for key in ("BUNIT", "EXPTIME", "CRVAL1", "DATE-OBS")} == dict(header)
            assert out[0].header.comments["EXPTIME"] == "seconds"
            assert "generated, not measured" in str(out[0].header["HISTORY"])
            filled, uncertainty, bad = out[0].data, out["UNCERT"].data, out["FILLED"].data == 1
            assert out["UNCERT"].header["BUNIT"] == "nJy"
            assert filled.dtype == flux.dtype
            assert filled[~bad].tobytes() == flux[~bad].tobytes()
            assert np.array_equal(bad, (mask != 0) | ~np.isfinite(flux))
            assert np.isfinite(filled).all()
            assert (uncertainty[bad] > 0).all()
            assert (uncertainty[~bad] == 0).all()
            results.append(filled.copy())
    assert np.array_equal(*results)


def test_the_unit_scales_the_fill(prior: Any) -> None:
    """If this fails, an image in another unit is filled with fluxes of the survey of the prior."""
    flux, bad = np.full((16, 16), 0.05), np.zeros((16, 16), dtype=bool)
    bad[4:6, 4:6] = True
    mean, deviation = EXAMPLE["fill"](flux, bad, prior, samples=3)
    scaled, spread = EXAMPLE["fill"](1000 * flux, bad, prior, samples=3, unit=1000)
    np.testing.assert_allclose(scaled, 1000 * mean, rtol=1e-6)
    np.testing.assert_allclose(spread, 1000 * deviation, rtol=1e-6)


def test_wrong_files(prior: Any, tmp_path: Path) -> None:
    """If this fails, integers are rounded silently, or a small image ends in a traceback."""
    fits.PrimaryHDU(np.zeros((20, 20), np.int16)).writeto(tmp_path / "in.fits")
    with pytest.raises(SystemExit, match="floating-point"):
        EXAMPLE["fill_file"](tmp_path / "in.fits", tmp_path / "out.fits", prior)
    with pytest.raises(SystemExit, match="at least 16 x 16"):
        EXAMPLE["fill"](np.zeros((8, 8)), np.eye(8, dtype=bool), prior)
