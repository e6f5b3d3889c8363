"""The loop: make the moves of a method, and yield the state after each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.checks import shown
from repaint.errors import InputError, StateError
from repaint.sampling.contract import checked_guided, checked_schedule, checked_step
from repaint.sampling.finite import PATIENCE, FiniteCheck
from repaint.sampling.guidance import Guidance, GuidedStep, guided
from repaint.sampling.kernel import KernelStep
from repaint.sampling.levels import Level, renoise_scales
from repaint.sampling.merge import KnownPart, merge_known
from repaint.sampling.method import Method, Move, spec
from repaint.sampling.model import Model, Pullback, with_gradients
from repaint.sampling.population import check_memory
from repaint.sampling.prediction import Prediction, weighted
from repaint.sampling.prior import Prior
from repaint.sampling.rng import Draws, NoiseStreams
from repaint.sampling.solvers import TwoStageSolver
from repaint.sampling.state import Carry, SamplerState

__all__ = ["Sampler"]

Batch = Float[Tensor, "b *shape"]


class Sampler:
    """A prior and a method, ready to fill holes.

    Args:
        prior: the model.
        method: walk, merge, solver, corrector, guidance; or a kernel.
        guidance: (x, level) -> gradient of log p(y | x) with respect to x, same shape as x. It is called with autograd
            on, and with a copy of x. None for no guidance.
    """

    def __init__(self, prior: Prior, method: Method, guidance: Guidance | None = None) -> None:
        self.prior, self.method, self.guidance = prior, method, guidance
        steps = method.schedule.steps
        self.grid = checked_schedule(prior.schedule(steps, method.spacing), prior, steps)
        self.moves = method.moves_on(self.grid)
        self.patience = 1 if prior.device.type == "cpu" else PATIENCE
        self.scales = _digest([(level.alpha, level.sigma) for level in self.grid.levels])
        parts = (method.merge, method.solver, method.corrector, method.guidance, method.kernel)
        texts = [None if part is None else spec(part) for part in parts]
        self.walk = _digest((self.moves, self.scales, texts, float(method.temperature)))

    def start(
        self,
        x0: Batch,
        known: Bool[Tensor, "..."],
        seeds: Sequence[int],
        init: Batch | None = None,
        strength: Float[Tensor, "..."] | None = None,
    ) -> SamplerState:
        """Make the state before the first move, at the walk's first level.

        Args:
            x0: (B, ...) the known sample in the prior's space; never read where `known` is False.
            known: (B, ...) True where x0 is kept; broadcasts to the shape of x0.
            seeds: one per image; or fewer, dividing the batch, each for a run of consecutive samples.
            init: (B, ...) start the unknown part from this sample, noised, instead of from pure noise.
            strength: (B, ...) in [0, 1], how much of each unknown entry may change; broadcasts to the shape of x0. At
                levels above strength times the number of levels, an entry is known, and x0 is read there. 1 is free at
                every level; None: 1 everywhere.
        Raises:
            InputError: seeds that do not fit the batch, no init where the method needs one, a strength that is not in
                [0, 1], or a start that is not pure noise where the method's kernel needs that.
        Source:
            strength: Levin & Fried 2023, "Differential Diffusion" (arXiv 2306.00950).
        """
        if not seeds or len(x0) % len(seeds):
            raise InputError(f"start() got {len(seeds)} seeds for {len(x0)} images. Pass one seed per image.")
        if init is None and self.method.init == "smooth":
            raise InputError(
                f"init must be given for the method {self.method.name}, which begins at a smooth fill: pass "
                "repaint.pictures.push_pull.smooth_fill(x0, known)."
            )
        if init is not None or self.moves[0].src < self.grid.steps:
            self._check_start()
        x0, known, free_from = self.problem(x0, known, strength)
        first = self.moves[0].src
        level, draws = self.grid[first], self._draws(NoiseStreams.from_seeds(seeds), x0)
        x = level.sigma * draws.z if init is None else level.alpha * init + level.sigma * draws.z
        noise, carry = self._known_noise(KnownPart(None, x0, level), level, draws, {})
        own = tuple(seeds), draws.streams, None, free_from, _named(merge=carry), self.walk, self.scales
        state = SamplerState(x, x0, known, first, 0, 0, *own)
        return state if noise is None else replace(state, x=merge_known(x, x0, noise, state.known_at(first), level))

    def problem(
        self, x0: Batch, known: Bool[Tensor, "..."], strength: Float[Tensor, "..."] | None = None
    ) -> tuple[Batch, Bool[Tensor, "b *shape"], Batch | None]:
        """Return the task of a state: `x0`, `known` and `free_from`. The arguments are those of `start`.

        Raises:
            InputError: a strength that is not in [0, 1].
        """
        known = known.expand(x0.shape)
        free_from = None if strength is None else _free_from(strength.to(x0).expand(x0.shape), self.grid.steps)
        read = known if free_from is None else known | (free_from < self.grid.steps)
        return torch.where(read, x0, torch.zeros_like(x0)), known, free_from

    def run(
        self, state: SamplerState, on_move: Callable[[SamplerState], SamplerState | None] | None = None
    ) -> Iterator[SamplerState]:
        """Make the remaining moves, yielding the state after each; the last is at level 0.

        Args:
            state: of this walk; or a branch (`SamplerState.branch`), which may take any walk over the same noise levels
                that begins at its level.
            on_move: called with the state after each move; a state that it returns replaces that one.
        Raises:
            StateError: a state of another walk.
            NonFiniteError: a prediction with NaN or infinity.
        """
        state = self.adopt(state)
        check = self._finite_check()
        while state.position < len(self.moves):
            move = self.moves[state.position]
            # The sum of the sample, because a large picture has no memory to keep the sample itself.
            total = None if move.kind == "renoise" else state.x.sum()
            state = self.advance(state)
            if total is not None:
                check.add(move.src, total, state.x0_hat, last=state.position == len(self.moves))
            if on_move is not None and (changed := on_move(state)) is not None:
                state = self.adopt(changed)
            yield state

    def _finite_check(self) -> FiniteCheck:
        model = type(self.prior).__name__ + (" with guidance" if self.guidance or self.method.guidance else "")
        makers = (self.method.solver, self.method.corrector, self.method.merge)
        parts = [part for part in ((self.method.kernel,) if self.method.kernel else makers) if part is not None]
        return FiniteCheck(model, " or ".join(map(spec, parts)), self.grid, self.patience)

    def adopt(self, state: SamplerState) -> SamplerState:
        """Check that a state belongs to this walk. A branch joins the walk here.

        Raises:
            StateError: it does not.
        """
        if state.walk == self.walk:
            return state
        if state.walk:
            raise StateError(
                f"This state (move {state.position}, level {state.level}) belongs to another method than "
                f"{self.method.name}. Use the schedule, merge, solver, corrector, guidance and temperature that it was "
                "saved with, or state.branch(seeds) to change them."
            )
        if state.scales != self.scales:
            raise StateError(
                f"This branch at level {state.level} uses other noise levels than this method. Keep the step count, "
                "the spacing and the prior's scheduler."
            )
        if state.level != self.moves[0].src:
            raise StateError(
                f"This branch is at level {state.level}, but the walk begins at level {self.moves[0].src}. Use "
                "JumpSchedule.capped(level), or a walk that begins there."
            )
        self._check_continues(state)
        return replace(state, walk=self.walk)

    def _check_start(self) -> None:
        """Refuse a start that is not pure noise where the method's kernel would not read it.

        Raises:
            InputError: see above.
        """
        if self.method.kernel is not None and self.method.kernel.carries:
            raise InputError(
                f"{spec(self.method.kernel)} begins at pure noise: it cannot start from an image or at a lower noise "
                "level. Leave out strength and init, or use another schedule."
            )

    def _check_continues(self, branch: SamplerState) -> None:
        """Refuse a branch that lacks what the method's kernel needs to continue.

        Raises:
            StateError: see above.
        """
        kernel, carried = self.method.kernel, branch.carried("kernel")
        if kernel is None:
            return
        lacks = [name for name in kernel.carries if name not in carried]
        if lacks or ("particles" in kernel.carries and carried["particles"].shape[1] != kernel.particles):
            raise StateError(
                f"{spec(kernel)} cannot continue this branch, which was not begun with it. Use the method of the run "
                "that it was taken from, or one without a population."
            )

    @torch.no_grad()
    def advance(self, state: SamplerState) -> SamplerState:
        """Make one move: renoise up, correct in place, or denoise down; then merge the known part."""
        move = self.moves[state.position]
        if move.kind == "denoise" and self.method.kernel is not None:
            return self._by_kernel(state, move)
        src, dst = self.grid[move.src], self.grid[move.dst]
        draws, prediction, model = self._draws(state.streams, state.x), None, self._model(state)
        merge, solver, corrector = (state.carried(part) for part in ("merge", "solver", "corrector"))
        if move.kind == "renoise":
            gain, std = renoise_scales(src, dst)
            x, solver, corrector = weighted((gain, state.x), (std, draws.z)), {}, {}
            before = KnownPart(x, state.x0, dst)
        else:
            prediction, shift = self._predict(model, state, move)
            before = KnownPart(state.x, state.x0, src, prediction, state.known_at(move.src))
            if move.kind == "correct":
                assert self.method.corrector is not None
                made = self.method.corrector.step(state.x, prediction, src, draws, corrector)
                x, corrector = checked_step(made, self.method.corrector, "step", state.x)
            elif move.kind == "refine":
                assert isinstance(self.method.solver, TwoStageSolver)
                made = self.method.solver.refine(state.x, prediction, src, solver)
                x, solver = checked_step(made, self.method.solver, "refine", state.x)
            else:
                made = self.method.solver.step(state.x, prediction, src, dst, draws, solver)
                x, solver = checked_step(made, self.method.solver, "step", state.x)
                x, corrector = x if shift is None else x + shift, {}
        noise, spare = None, None
        if dst.sigma > 0 and (prediction is not None or self.method.merge.after_renoise):
            noise, merge = self._known_noise(before, dst, draws, merge)
            spare = draws.spent(x, *merge.values(), *solver.values(), *corrector.values())
        if move.kind == "renoise" and state.free_from is not None and noise is None:
            x = self._begun(x, state, dst, draws)
        if dst.sigma == 0 or noise is not None:
            x = merge_known(x, state.x0, noise, state.known_at(move.dst), dst, spare)
        return replace(
            state,
            x=x,
            level=move.dst,
            position=state.position + 1,
            streams=draws.streams,
            carry=_named(merge=merge, solver=solver, corrector=corrector, kernel=state.carried("kernel")),
            x0_hat=state.x0_hat if prediction is None else prediction.x0_hat,
            model_calls=state.model_calls + model.calls,
            gradient_calls=state.gradient_calls + model.gradients,
        )

    def _begun(self, x: Batch, state: SamplerState, dst: Level, draws: Draws) -> Batch:
        """Merge the entries that a jump up to `dst` makes known, as at the start of a walk from there.

        The entries that were known before carry their noise up; these had none, because they were free.
        """
        move = self.moves[state.position]
        noise, _ = self._known_noise(KnownPart(None, state.x0, dst), dst, draws, {})
        become = state.known_at(move.dst) & ~state.known_at(move.src)
        return x if noise is None else merge_known(x, state.x0, noise, become, dst)

    def _by_kernel(self, state: SamplerState, move: Move) -> SamplerState:
        """Make a step down by the method's kernel."""
        kernel, model = self.method.kernel, self._model(state)
        src, dst = self.grid[move.src], self.grid[move.dst]
        assert kernel is not None
        check_memory(state.x, kernel.particles)
        like = state.x[:1].expand(kernel.particles * len(state.x), *state.x.shape[1:])  # all particles, without memory
        draws = Draws(state.streams, like, len(state.x))
        step = KernelStep(
            x=state.x,
            x0=state.x0,
            known=state.known_at(move.src),
            src=src,
            dst=dst,
            index=move.src,
            steps=self.method.schedule.steps,
            model=model,
            draws=draws,
            carry=state.carried("kernel"),
        )
        x, carry = checked_step(kernel.step(step), kernel, "step", state.x)
        return replace(
            state,
            x=merge_known(x, state.x0, None, state.known, dst) if dst.sigma == 0 else x,
            level=move.dst,
            position=state.position + 1,
            streams=draws.streams,
            carry=_named(merge=state.carried("merge"), kernel=carry),
            x0_hat=model.x0_hat,
            model_calls=state.model_calls + model.calls,
            gradient_calls=state.gradient_calls + model.gradients,
        )

    def _known_noise(self, before: KnownPart, level: Level, draws: Draws, carry: Carry) -> tuple[Batch | None, Carry]:
        """Return the noise of the known part at a level, by the method's merge."""
        made = self.method.merge.noise(before, level, draws, carry)
        return checked_step(made, self.method.merge, "noise", before.x0, optional=True)

    def _draws(self, streams: NoiseStreams, like: Batch) -> Draws:
        return Draws(streams, like, temperature=self.method.temperature)

    def _model(self, state: SamplerState) -> Model:
        return Model(self.prior, len(state.x), None if self.guidance is None else self._classified)

    def _classified(self, prediction: Prediction, x: Batch, level: Level) -> Prediction:
        """Shift a prediction by the caller's guidance."""
        assert self.guidance is not None
        with with_gradients():
            gradient = self.guidance(x.detach().clone(), level)
        if not isinstance(gradient, Tensor) or gradient.shape != x.shape:
            found = shown(tuple(gradient.shape)) if isinstance(gradient, Tensor) else f"a {type(gradient).__name__}"
            raise InputError(
                f"guidance returned {found}, but must return a tensor of the shape of x, {tuple(x.shape)}."
            )
        return guided(prediction, x, level, gradient.detach().to(x))

    def _predict(self, model: Model, state: SamplerState, move: Move) -> tuple[Prediction, Batch | None]:
        """Return the prediction, guided by the method's own rule, and a shift of the sample to add after a step."""
        rule, src = self.method.guidance, self.grid[move.src]
        if rule is None:
            return model.predict(state.x, src), None
        pullback: Pullback | None = None
        if rule.gradients:
            prediction, pullback = model.linearised(state.x, src)
        else:
            prediction = model.predict(state.x, src)
        known = state.known_at(move.src)
        step = GuidedStep(state.x, prediction, src, self.grid[move.dst], state.x0, known, pullback)
        return checked_guided(rule.guide(step), rule, state.x)


def _free_from(strength: Batch, steps: int) -> Batch:
    """Return the highest level at which an entry of this strength is free. Rounding errors of the product are allowed.

    Raises:
        InputError: a strength outside [0, 1].
    """
    if not bool(((strength >= 0) & (strength <= 1)).all()):
        raise InputError("strength must be in [0, 1] everywhere (1 lets an entry change at every level).")
    return (strength * steps + 1e-4).floor()


def _named(**parts: Carry) -> dict[str, Tensor]:
    """Join the carries of all parts in one dict, each name prefixed by the name of its part."""
    return {f"{part}/{name}": value for part, carry in parts.items() for name, value in carry.items()}


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
