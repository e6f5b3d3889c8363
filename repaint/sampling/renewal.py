"""Zeta: the share of the noise's variance that a step draws anew. 0 keeps all of it, 1 renews all of it.

| zeta              | who                                                                 |
|-------------------|---------------------------------------------------------------------|
| a number          | DDNM's code .7225, FPS-SMC .95, DiffPIR any                         |
| `posterior`       | DDPM with the small variance: one Markov path, reversed             |
| `1-alpha`         | DInG, `default`                                                     |
| `(1-alpha)^2`     | DInG, `square`, its published setting                               |
| `1-sigma`         | FlowDPS                                                             |

The last three were published for particular paths. On variance-exploding paths, alpha and sigma mean their values
divided by sqrt(alpha^2 + sigma^2); on variance-preserving paths this changes nothing.
"""

from __future__ import annotations

import math

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.sampling.levels import Level, posterior

__all__ = ["Zeta", "checked_zeta", "renewed"]

Zeta = float | str
"""A share in [0, 1], or the text of a rule of the table above."""

RULES = ("posterior", "1-alpha", "(1-alpha)^2", "1-sigma")


def checked_zeta(part: str, zeta: Zeta) -> Zeta:
    """Return a zeta in its stored form: a rule without spaces, or a number.

    Args:
        part: the name of the part that has it, for the error.
        zeta: a share or a rule.
    Raises:
        InputError: neither a number in [0, 1] nor a rule.

    >>> checked_zeta("renew", "(1 - alpha)^2")
    '(1-alpha)^2'
    """
    if isinstance(zeta, str) and (rule := "".join(zeta.split())) in RULES:
        return rule
    if isinstance(zeta, str) or not (is_number(zeta) and 0 <= zeta <= 1):
        raise InputError(f"{part}(zeta={shown(zeta)}) must be in [0, 1], or one of {', '.join(RULES)}.")
    return zeta


def renewed(zeta: Zeta, src: Level, dst: Level) -> float:
    """Return the share of the noise's variance that the step from `src` down to `dst` draws anew, in [0, 1].

    Args:
        zeta: as returned by `checked_zeta`.
        src, dst: the levels; `dst` is not clean.
    """
    if not isinstance(zeta, str):
        return float(zeta)
    if zeta == "posterior":
        return min(1.0, (posterior(src, dst).small_std / dst.sigma) ** 2)
    # A flow's alpha + sigma is 1, and its own alpha is the published one; elsewhere rho is 1 or the path explodes.
    rho = 1.0 if dst.alpha + dst.sigma <= 1 + 1e-9 else math.hypot(dst.alpha, dst.sigma)
    share = 1 - dst.sigma / rho if zeta == "1-sigma" else 1 - dst.alpha / rho
    return share**2 if zeta == "(1-alpha)^2" else share
