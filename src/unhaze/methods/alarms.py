"""Alarms of a training method: a term that stays out of its range is reported."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Alarm:
    """term: one that `step` returns. It is reported after `patience` consecutive steps outside
    [low, high], with `advice`, which states the meaning and what to do."""

    term: str
    low: float
    high: float
    patience: int
    advice: str


class Watcher:
    """Remembers since when each term has been out of range; reports each episode once."""

    def __init__(self, alarms: tuple[Alarm, ...]):
        self.alarms = alarms
        self.since: dict[Alarm, int] = {}
        self.reported: set[Alarm] = set()

    def look(self, step: int, terms: dict[str, float]) -> list[str]:
        """Returns one line for each alarm that is due at `step`."""
        lines = []
        for alarm in self.alarms:
            value = terms.get(alarm.term)
            if value is None or alarm.low <= value <= alarm.high:
                self.since.pop(alarm, None)
                self.reported.discard(alarm)
                continue
            lasting = step - self.since.setdefault(alarm, step)
            if lasting >= alarm.patience and alarm not in self.reported:
                self.reported.add(alarm)
                where = f"{value:.3g}, for {lasting} steps outside [{alarm.low:g}, {alarm.high:g}]"
                lines.append(f"step {step}: {alarm.term} is {where}: {alarm.advice}")
        return lines


def adversarial_alarms(undecided: float) -> tuple[Alarm, ...]:
    """Returns those of critics and negatives.

    undecided: loss of a critic that cannot distinguish real pictures.
    """
    critic = "under the range it tells every made picture, and generators learn nothing from it;"
    critic += " over it, it diverges; try a lower method.critic_lr"
    collapsed = "the negatives no longer differ by their noise (collapse); try a higher"
    collapsed += " method.diversity or a lower method.negatives_lr"
    lost = "every negative is told from the real patches, and the contrast teaches nothing; try a"
    lost += " higher method.temperature"
    low, high = 0.04 * undecided, 4 * undecided
    return (
        Alarm("critic_clear", low, high, 500, critic),
        Alarm("critic_hazy", low, high, 500, critic),
        Alarm("spread", 0.05, math.inf, 500, collapsed),
        Alarm("contrast", 0.01, math.inf, 500, lost),
    )
