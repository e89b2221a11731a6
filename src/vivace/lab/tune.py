"""Settings found by experiment: which runs are made, and which changes they show to be worth a line.

1. *Screening.* Each candidate runs once, between runs of the settings as they are; what loses clearly is out, the rest
   runs again. Scores of so few runs decide nothing. They order what follows, together with what the model predicted:
   the more those runs of the same settings differ, the more the model counts. A deep change from which the model
   expects a lot comes before that: it would all have to be done again after it.
2. *Duels.* The best of each knob, the most promising first, against the settings so far, in mirrored rounds (`stats`).
   A change is taken if its gain is shown. What has been taken is in the next duel on both sides. After a deep one
   (workers, threads, cache) the others are screened anew: it changes what they are worth.
3. *Total.* What was taken together, against the settings as they were.

Rules: a gain is shown if its interval and its control say so (`stats.compare_halves`) and it is LEAST or more. The
intervals are wide enough for all looks at all duels together: of twenty searches where nothing pays at most one takes
anything.
Looks come after numbers of rounds that are fixed beforehand (LOOKS); between them nothing is judged. A server that
does not start, fails, or answers otherwise than before loses. Time comes from `clock`; nothing begins that would not
end within the budget by the length of the runs so far. An interruption keeps what was shown. Must not know servers
and loads: `take` does.
"""

from __future__ import annotations

import math
import random
import time

from vivace.errors import SettingError
from vivace.lab.stats import Round, compare_halves
from vivace.lab.tune_knobs import BYTES, Candidate
from vivace.lab.tune_worth import HARM_MOST, LEAST_ALSO, Outcome, Sample, Worth, means, otherwise, saves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from vivace.lab.tune_worth import Objective

    Values = dict[str, Any]
    Take = Callable[[Values], Sample]
    """Changes against the settings as they were -> one run. Raises SettingError: the server does not serve."""
    CandidatesOf = Callable[[Values], tuple[list[Candidate], dict[str, str]]]
    """Changes so far -> what to try, and why other knobs are not."""

LOOKS = (4, 8, 16)
"""Rounds after which a duel is judged."""
LEAST = 0.02
"""What is worth less is not worth a line that somebody has to understand."""
FOREMOST = 1.25
"""What the model expects as much of, and what changes all else, is looked at before all else is screened."""
TURNS = 3
BASES_EVERY = 3
"""So many candidates run between two runs of the settings as they are."""
SCREEN_SHARE = 0.25
"""Of the time that is left: at most so much goes into a screening."""
TOTAL_SHARE = 0.2
"""Of the budget, kept for the comparison at the end."""
CLEARLY = 0.05
"""Below a score of minus this a candidate is out after its first run; log of a ratio."""
MODEL_OFF = 0.15
"""Standard deviation of what the model predicts, as a log of a ratio: a guess that the report lets anybody check."""
NOISE_LEAST = 0.02


class _OutOfTime(Exception):
    """The next run would end after the budget."""


class Tuner:
    """One search. `tell` hears what runs, in words."""

    def __init__(
        self,
        take: Take,
        candidates_of: CandidatesOf,
        objective: Objective,
        budget_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 1,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.outcome = Outcome(objective)
        self._take = take
        self._candidates_of = candidates_of
        self._clock = clock
        self._draw = random.Random(seed)
        self._tell = tell
        self._began_s = clock()
        self._ends_s = self._began_s + budget_s
        self._budget_s = budget_s
        self._run_s = 0.0
        self._family = 1
        self._seen: dict[tuple[tuple[str, Any], ...], list[Sample]] = {}
        self._decided: set[str] = set()
        self._repeats: list[float] = []
        """Log of one run of the settings so far by the one before it, from the screenings."""

    def run(self) -> Outcome:
        """Searches until nothing is left to try, or no time. Raises SettingError if the settings as they are fail."""
        outcome = self.outcome
        try:
            found, outcome.left = self._candidates_of({})
            self._family = _family(found)
            self._climb(found)
        except _OutOfTime:
            pass
        except KeyboardInterrupt:
            outcome.interrupted = True
        try:
            if not outcome.interrupted:
                self._total()
        except _OutOfTime:
            pass
        except KeyboardInterrupt:
            outcome.interrupted = True
        outcome.seconds = self._clock() - self._began_s
        outcome.base, outcome.tuned = self._means({}), self._means(outcome.chosen)
        outcome.worths.sort(key=lambda worth: not worth.comparisons)
        return outcome

    # Runs.

    @property
    def _left_s(self) -> float:
        """Time for screenings and duels: without what is kept for the total, if that would be enough for it. Until
        something is taken nothing is kept: one change has been compared with the settings as they were."""
        kept_s = TOTAL_SHARE * self._budget_s
        left_s = self._ends_s - self._clock()
        return left_s - kept_s if self.outcome.chosen and kept_s > 4 * LOOKS[0] * self._run_s else left_s

    def _sample(self, values: Values, *, last: bool = False) -> Sample:
        """One run, if there is time for it. `last`: it may use what was kept."""
        now = self._clock()
        if self._run_s and self._run_s > (self._ends_s - now if last else self._left_s):
            raise _OutOfTime
        sample = self._take(values)
        spent_s = self._clock() - now
        self._run_s = spent_s if not self._run_s else 0.8 * self._run_s + 0.2 * spent_s
        self.outcome.runs += 1
        self.outcome.bottlenecks += bool(sample.bottleneck)
        self._seen.setdefault(_key(values), []).append(sample)
        return sample

    def _means(self, values: Values) -> dict[str, float]:
        return means(self._seen.get(_key(values), []))

    # Screening.

    def _screen(self, candidates: Sequence[Candidate]) -> list[Worth]:
        """Their scores, the best of each knob, the most promising first."""
        if not candidates:
            return []
        ends_s = self._clock() + SCREEN_SHARE * self._left_s
        worths = [Worth(one) for one in candidates]
        alive = list(worths)
        try:
            for turn in range(TURNS):
                # The first turn begins with what the model expects most of: it may be all there is time for.
                if turn:
                    self._draw.shuffle(alive)
                    if self._clock() + self._run_s * (1 + len(alive) * (1 + 1 / BASES_EVERY)) > ends_s:
                        break
                before = self._base()
                for at in range(0, len(alive), BASES_EVERY):
                    if worths[0].runs and self._clock() > ends_s:
                        break
                    before = self._block(alive[at : at + BASES_EVERY], before)
                alive = [worth for worth in alive if worth.runs and not worth.why_not and self._hopeful(worth)]
                if not alive:
                    break
        except _OutOfTime:
            pass
        return self._best(worths)

    def _block(self, worths: list[Worth], before: Sample) -> Sample:
        """Each once, then the settings as they are again; returns that run."""
        samples = []
        for worth in worths:
            self._tell(f"trying {worth.candidate.label}")
            samples.append(self._maybe_sample(worth))
        after = self._base()
        figure = self.outcome.objective.figure
        self._repeats.append(math.log(after.figures[figure] / before.figures[figure]))
        for worth, sample in zip(worths, samples, strict=True):
            if sample is not None:
                self._score(worth, sample, before, after)
        return after

    def _base(self) -> Sample:
        self._tell("the settings so far")
        return self._sample(self.outcome.chosen)

    def _maybe_sample(self, worth: Worth) -> Sample | None:
        """None: its server does not serve."""
        try:
            return self._sample(self.outcome.chosen | worth.candidate.changes)
        except SettingError as error:
            worth.why_not = str(error).partition("\n")[0]
            return None

    def _score(self, worth: Worth, sample: Sample, before: Sample, after: Sample) -> None:
        worth.why_not = otherwise(sample, before)
        for name, value in sample.figures.items():
            if name in before.figures and name in after.figures:
                ratio = value / math.sqrt(before.figures[name] * after.figures[name])
                mean = worth.others.get(name, 1.0)
                worth.others[name] = (mean**worth.runs * ratio) ** (1 / (worth.runs + 1))
        worth.runs += 1
        worth.score = worth.others[self.outcome.objective.figure] ** self.outcome.objective.better

    def _hopeful(self, worth: Worth) -> bool:
        expected, also = self._expected(worth), worth.others.get(worth.candidate.also, 1.0)
        return expected > -CLEARLY or saves(worth.candidate, also, math.exp(expected))

    def _best(self, worths: list[Worth]) -> list[Worth]:
        """The best of each knob; what is out is noted."""
        best: dict[str, Worth] = {}
        for worth in sorted(worths, key=lambda worth: -self._expected(worth)):
            tried = worth.runs and not worth.why_not
            if tried and worth.candidate.also == BYTES:
                worth.why_not = BYTES
            elif not worth.runs:
                worth.why_not = worth.why_not or "no time was left to try it"
            elif tried and not self._hopeful(worth):
                worth.why_not = "it lost in the screening"
            elif tried and worth.candidate.knob in best:
                worth.why_not = f"{best[worth.candidate.knob].candidate.label} did better in the screening"
            elif tried:
                best[worth.candidate.knob] = worth
            if worth.why_not:
                self._note(worth)
        return list(best.values())

    def _expected(self, worth: Worth) -> float:
        """Log of a ratio: what was measured and what was predicted, each by the inverse of its variance."""
        noise = max(NOISE_LEAST**2, sum(one * one for one in self._repeats) / 2 / max(1, len(self._repeats)))
        # A score is the difference of a run and the mean of two.
        measured, model = worth.runs / (1.5 * noise), 1 / MODEL_OFF**2
        predicted = math.log(worth.candidate.predicted) if self.outcome.objective.figure == "rate" else 0.0
        return (measured * math.log(worth.score) + model * predicted) / (measured + model)

    def _note(self, worth: Worth) -> None:
        """Of one that is tried again after a deep change the last word counts."""
        self.outcome.worths = [one for one in self.outcome.worths if one.candidate.changes != worth.candidate.changes]
        self.outcome.worths.append(worth)

    # Duels.

    def _climb(self, found: list[Candidate]) -> None:
        pending, rest = self._foremost(found)
        worth: Worth | None = None
        try:
            while pending or rest:
                if not pending:
                    pending, rest = self._screen(rest), []
                    continue
                worth = pending.pop(0)
                self._decided.add(worth.candidate.knob)
                hope = self._look(worth)
                if worth.adopted:
                    pending, rest = self._after(worth, pending, rest)
                elif hope and self._promises(worth):  # at once, if the next look should show it
                    pending.insert(0, worth)
                    continue
                elif hope:  # else when nothing else is left
                    pending, rest = [*pending, *self._screen(rest), worth], []
                    continue
                self._note(worth)
        finally:
            for one in [*([worth] if worth is not None else []), *pending, *(Worth(one) for one in rest)]:
                if not one.adopted:
                    one.why_not = one.why_not or ("no gain shown" if one.comparisons else "no time was left to show it")
                self._note(one)

    def _foremost(self, found: list[Candidate]) -> tuple[list[Worth], list[Candidate]]:
        """What comes before all else is screened, since after it all else is screened anew; and all else."""
        deep = [one for one in found if one.deep and one.predicted >= FOREMOST]
        if not deep or self.outcome.objective.figure != "rate":
            return [], found
        knob = max(deep, key=lambda one: one.predicted).knob
        own, rest = [one for one in found if one.knob == knob], [one for one in found if one.knob != knob]
        return self._screen(own) if len(own) > 1 else [Worth(own[0])], rest

    def _after(self, worth: Worth, pending: list[Worth], rest: list[Candidate]) -> tuple[list[Worth], list[Candidate]]:
        """A change was taken: what is left to be looked at, and screened, against the settings with it."""
        self.outcome.chosen = self.outcome.chosen | worth.candidate.changes
        for one in pending:
            if one.comparisons:  # its rounds were against other settings
                one.why_not = "no gain shown"
                self._note(one)
        left = [one for one in pending if not one.comparisons]
        if not worth.candidate.deep:
            return left, rest
        found, why = self._candidates_of(self.outcome.chosen)
        self.outcome.left = {knob: text for knob, text in why.items() if knob not in self._decided}
        self._note(worth)
        return [], [one for one in found if one.knob not in self._decided]

    def _look(self, worth: Worth) -> bool:
        """Mirrored rounds against the settings so far, until the next look; returns whether another may show more."""
        chosen = self.outcome.chosen
        pairs = worth.rounds
        done = len(pairs.get(self.outcome.objective.figure, ()))
        look = next(look for look in LOOKS if look > done)
        # What promises much is worth more than to know the whole of what was taken.
        promising = self._expected(worth) > CLEARLY
        if (look - done) * 4 * self._run_s > (self._ends_s - self._clock() if promising else self._left_s):
            worth.why_not = "no gain shown" if done else "no time was left to show it"
            return False
        for number in range(done + 1, look + 1):
            self._tell(f"{worth.candidate.label}: round {number} of {look}")
            if why := self._round(chosen, chosen | worth.candidate.changes, pairs, last=promising):
                worth.why_not = why
                return False
        self._judge(worth, pairs)
        if worth.adopted:
            return False
        if look == LOOKS[-1] or not self._may_yet(worth):
            worth.why_not = "no gain shown"
            return False
        return True

    def _round(self, one: Values, other: Values, pairs: dict[str, list[Round]], *, last: bool = False) -> str:
        """Four runs, added to `pairs` by figure. Returns why the other one cannot be taken, or ""."""
        found: dict[str, list[Sample]] = {"A": [], "B": []}
        for side in self._draw.choice(("ABBA", "BAAB")):
            try:
                found[side].append(self._sample(one if side == "A" else other, last=last))
            except SettingError as error:
                if side == "A":
                    raise
                return str(error).partition("\n")[0]
        (a, again), (b, after) = found["A"], found["B"]
        for name in set.intersection(*(set(sample.figures) for sample in (a, again, b, after))):
            values = [sample.figures[name] for sample in (a, again, b, after)]
            pairs.setdefault(name, []).append(Round((values[0], values[1]), (values[2], values[3])))
        return otherwise(b, a) and otherwise(after, again)

    def _judge(self, worth: Worth, pairs: dict[str, list[Round]]) -> None:
        objective, also = self.outcome.objective, worth.candidate.also
        if also in pairs and also != objective.figure:
            worth.comparisons[also], _ = compare_halves(pairs[also], self._family)
        goal, worth.smallest = compare_halves(pairs[objective.figure], self._family)
        worth.comparisons[objective.figure] = goal
        gain = math.log(worth.ratio(objective))
        if goal.differs and gain >= math.log1p(LEAST):
            worth.adopted, worth.figure = True, objective.figure
            return
        saved = worth.comparisons.get(also)
        worst = goal.change.low if objective.better > 0 else 1 / goal.change.high
        harmless = not (goal.differs and gain < 0) and worst > 1 - HARM_MOST
        if saved is not None and also != BYTES and harmless and saved.differs and saved.change.ratio < 1 - LEAST_ALSO:
            worth.adopted, worth.figure = True, also

    def _may_yet(self, worth: Worth) -> bool:
        """Whether more rounds could show something that is worth a line."""
        ratio = worth.ratio(self.outcome.objective)
        also = worth.comparisons.get(worth.candidate.also)
        return ratio > 1 + LEAST or (also is not None and saves(worth.candidate, also.change.ratio, ratio))

    def _promises(self, worth: Worth) -> bool:
        """Whether the next look, after twice as many rounds, should show it: intervals are half as wide then."""
        found = worth.comparisons[self.outcome.objective.figure]
        wide = max(found.change.half_width, found.control.half_width)
        return math.log(worth.ratio(self.outcome.objective)) > wide / 2

    def _total(self) -> None:
        """What was chosen against what was there, with the time that was kept for it."""
        taken = [worth for worth in self.outcome.worths if worth.adopted]
        figure = self.outcome.objective.figure
        if len(taken) == 1:
            self.outcome.total = taken[0].comparisons[figure]
        if len(taken) < 2:
            return
        rounds = min(LOOKS[1], int((self._ends_s - self._clock()) / (4 * self._run_s)))
        if rounds < LOOKS[0]:
            return
        pairs: dict[str, list[Round]] = {}
        for number in range(1, rounds + 1):
            self._tell(f"all of it against the settings as they were: round {number} of {rounds}")
            self._round({}, self.outcome.chosen, pairs, last=True)
            if number >= LOOKS[0]:  # the last one counts; those before it, should there be an interruption
                self.outcome.total, _ = compare_halves(pairs[figure])


def _key(values: Values) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(values.items()))


def _family(candidates: Sequence[Candidate]) -> int:
    """How many figures' worth of errors there may be: each look at each figure of each knob, those that come with
    workers too. Half of them, as an interval errs on two sides and only the one of a gain has a consequence.
    """
    figures = {(one.knob, figure) for one in candidates for figure in ("", one.also) if figure != BYTES}
    if any(one.knob == "workers" for one in candidates):
        figures |= {("preload", ""), ("preload", "memory"), ("sockets", "")}
    return max(1, math.ceil(len(LOOKS) * len(figures) / 2))
