"""The loop: walk the moves of a method, and yield the state after each.

A draw is shared by the unknown part (the solver's noise) and the known part (the merge's noise): the two never meet
in one pixel, so they stay independent.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import InputError, NonFiniteError, StateError
from repaint.sampling.guidance import Guidance, guided
from repaint.sampling.levels import renoise_scales
from repaint.sampling.merge import merge_known, over_relaxed
from repaint.sampling.method import Method, Move
from repaint.sampling.prediction import Prediction, weighted
from repaint.sampling.prior import Prior
from repaint.sampling.rng import NoiseStreams
from repaint.sampling.state import SamplerState

__all__ = ["Sampler"]

Batch = Float[Tensor, "b *shape"]
PATIENCE = 64  # model calls between two looks for NaN where a look makes the host wait for the device


class Sampler:
    """A prior and a method, ready to fill holes.

    Args:
        prior: the model.
        method: walk, merge, solver, corrector.
        guidance: (x, level) -> gradient of log p(y | x) with respect to x, same shape as x. It is called without
            autograd: open `torch.enable_grad()` inside. None for no guidance.
    """

    def __init__(self, prior: Prior, method: Method, guidance: Guidance | None = None) -> None:
        self.prior, self.method, self.guidance = prior, method, guidance
        self.grid = prior.schedule(method.schedule.steps, method.spacing)
        self.moves = method.moves
        self.patience = 1 if prior.device.type == "cpu" else PATIENCE
        self.scales = _digest([(level.alpha, level.sigma) for level in self.grid.levels])
        self.walk = _digest((self.moves, self.scales))

    def start(
        self, x0: Batch, known: Bool[Tensor, "..."], seeds: Sequence[int], init: Batch | None = None
    ) -> SamplerState:
        """The state before the first move, at the walk's first level.

        Args:
            x0: (B, ...) the known sample in the prior's space; what stands where `known` is False is never read.
            known: (B, ...) True where x0 is kept; broadcasts to x0's shape.
            seeds: one per image; or fewer, dividing the batch, where each serves a run of consecutive samples.
            init: (B, ...) start the unknown part from this sample, noised, instead of from pure noise.
        """
        if not seeds or len(x0) % len(seeds):
            raise InputError(f"{len(seeds)} seeds for {len(x0)} images: give one each.")
        known = known.expand(x0.shape)
        x0 = torch.where(known, x0, torch.zeros_like(x0))
        first = self.moves[0].src
        level = self.grid[first]
        z, streams = self._draw(NoiseStreams.from_seeds(seeds), x0)
        path = None
        if self.method.merge.uses_path:
            path, streams = self._draw(streams, x0)
        x = level.sigma * z if init is None else level.alpha * init + level.sigma * z
        noise = self.method.merge.noise(None, z, path)
        x = merge_known(x, x0, noise, known, level)
        return SamplerState(
            x, x0, known, first, 0, 0, tuple(seeds), streams, path=path, walk=self.walk, scales=self.scales
        )

    def run(self, state: SamplerState) -> Iterator[SamplerState]:
        """Make the moves that are left, yielding the state after each; the last is at level 0.

        A state from another walk is refused; a branch (`SamplerState.branch`) may take any walk over the same noise
        levels that begins at its own.
        """
        state = self.adopt(state)
        while state.position < len(self.moves):
            state = self.advance(state)
            yield state

    def adopt(self, state: SamplerState) -> SamplerState:
        """Check that a state fits this walk; a branch joins it here."""
        pathless = self.method.merge.uses_path and state.path is None
        if state.walk == self.walk and not pathless:
            return state
        if state.walk:
            raise StateError(
                f"This state, {state.position} moves into another walk at level {state.level}, cannot go on with this "
                "one. Use the method and step count it was saved with, or state.branch(seeds) to change them."
            )
        if state.scales != self.scales:
            raise StateError(
                f"This branch at level {state.level} stands on another grid of noise levels: the same number means "
                "other noise here. Keep the step count, the spacing and the prior's scheduler."
            )
        first = self.moves[0].src
        if state.level != first:
            raise StateError(
                f"A branch at level {state.level} cannot take a walk that begins at level {first}. "
                "Use JumpSchedule.capped(level) or a walk that begins there."
            )
        if pathless:
            raise StateError("A branch without a replayed path cannot use merge trajectory: choose another merge.")
        return replace(state, walk=self.walk)

    def advance(self, state: SamplerState) -> SamplerState:
        """The state after the next move."""
        with torch.no_grad():
            move = self.moves[state.position]
            make = {"renoise": self._renoise, "correct": self._correct, "denoise": self._denoise}[move.kind]
            after = make(state, move)
        return replace(after, level=move.dst, position=state.position + 1)

    def _renoise(self, state: SamplerState, move: Move) -> SamplerState:
        gain, std = renoise_scales(self.grid[move.src], self.grid[move.dst])
        z, streams = self._draw(state.streams, state.x)
        x = weighted((gain, state.x), (std, z))
        if self.method.merge.uses_path:
            # The replayed path knows its own noise at every level; other rules keep what came up.
            x = merge_known(x, state.x0, state.path, state.known, self.grid[move.dst])
        return replace(state, x=x, streams=streams, history=None, history_level=None, z_before=None)

    def _correct(self, state: SamplerState, move: Move) -> SamplerState:
        corrector = self.method.corrector
        assert corrector is not None
        level = self.grid[move.src]
        prediction = self._predict(state.x, move.src)
        unchecked = self._check(state, prediction, move)
        z_before, streams = state.z_before, state.streams
        if corrector.uses_previous_noise and z_before is None:
            z_before, streams = self._draw(streams, state.x)
        z, streams = self._draw(streams, state.x)
        x = corrector.step(state.x, prediction, level, z, z_before)
        spare = None if corrector.uses_previous_noise or x is z else z
        x = merge_known(x, state.x0, self._known_noise(state, prediction, z), state.known, level, spare)
        return replace(
            state,
            x=x,
            streams=streams,
            x0_hat=prediction.x0_hat,
            model_calls=state.model_calls + 1,
            unchecked=unchecked,
            z_before=z if corrector.uses_previous_noise else None,
        )

    def _denoise(self, state: SamplerState, move: Move) -> SamplerState:
        src, dst = self.grid[move.src], self.grid[move.dst]
        solver, merge = self.method.solver, self.method.merge
        prediction = self._predict(state.x, move.src)
        unchecked = self._check(state, prediction, move)
        z, spare = state.x.new_zeros(()).expand_as(state.x), None  # no draw, and no memory
        averages = getattr(solver, "uses_previous_noise", False)
        z_before, streams = state.z_before if averages else None, state.streams
        if dst.sigma > 0 and (solver.uses_noise or merge.uses_noise):
            if averages and z_before is None:
                z_before, streams = self._draw(streams, state.x)
            z, streams = self._draw(streams, state.x)
            spare = None if averages else z
        history = None
        if state.history is not None and state.history_level is not None:
            history = (state.history, self.grid[state.history_level])
        solver_z = z if z_before is None else (z_before + z) / math.sqrt(2)
        x = solver.step(state.x, prediction, src, dst, solver_z, history)
        # The draw is spent once it is merged: the result takes its memory, unless a solver returned that itself.
        spare = None if spare is x else spare
        x = merge_known(x, state.x0, self._known_noise(state, prediction, z), state.known, dst, spare)
        return replace(
            state,
            x=x,
            streams=streams,
            x0_hat=prediction.x0_hat,
            model_calls=state.model_calls + 1,
            history=prediction.x0_hat,
            history_level=move.src,
            z_before=z if averages else None,
            unchecked=unchecked,
        )

    def _predict(self, x: Batch, at: int) -> Prediction:
        level = self.grid[at]
        prediction = self.prior.denoise(x, level)
        if self.guidance is not None:
            prediction = guided(prediction, x, level, self.guidance(x, level))
        return prediction

    def _check(self, state: SamplerState, prediction: Prediction, move: Move) -> tuple[tuple[int, Tensor], ...]:
        """Stop the run where a prediction was not finite; what is still to be looked at otherwise.

        A device works behind the host, which would wait at each look. So it looks seldom, and at the last move; the
        first level that overflowed is told all the same.
        """
        unchecked = (*state.unchecked, (move.src, prediction.x0_hat.sum()))  # finite where each of its terms is
        if len(unchecked) < self.patience and state.position + 1 < len(self.moves):
            return unchecked
        finite = torch.stack([total for _, total in unchecked]).isfinite()
        if bool(finite.all()):
            return ()
        at = unchecked[finite.tolist().index(False)][0]
        level = self.grid[at]
        raise NonFiniteError(
            f"The prediction at level {at} of {self.grid.steps} (alpha {level.alpha:.4g}, sigma {level.sigma:.4g}, "
            f"t {level.t:g}) holds NaN or infinity: {type(self.prior).__name__} overflowed or its weights are "
            "damaged. Load it with torch_dtype=torch.bfloat16 or torch.float32."
        )

    def _known_noise(self, state: SamplerState, prediction: Prediction, z: Batch) -> Batch:
        if not getattr(self.method.merge, "uses_prediction", True):
            return self.method.merge.noise(None, z, state.path)
        eps_hat = prediction.known_eps
        relax = getattr(self.method.merge, "relax", 1.0)
        if relax > 1:
            level = self.grid[state.level]
            eps_hat = over_relaxed(
                eps_hat, torch.sub(state.x, state.x0, alpha=level.alpha).div_(level.sigma), level, relax
            )
        return self.method.merge.noise(eps_hat, z, state.path)

    def _draw(self, streams: NoiseStreams, like: Batch) -> tuple[Batch, NoiseStreams]:
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        noise, streams = streams.draw(like.shape, dtype, pinned=like.device.type == "cuda")
        return noise.to(like.device, non_blocking=True), streams


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
