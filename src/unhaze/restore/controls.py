"""User adjustments of the result: protect the sky, lift shadows, remove a colour cast.

The options of command, Python, batches and service are generated from `CONTROLS`, and
`unhaze.restore.controlling` implements them.
"""

from dataclasses import asdict, dataclass
from numbers import Real

from unhaze.errors import UnhazeError

CONTROLS = {
    "protect_sky": "Keep the sky unchanged: 0 not at all, 1 fully.",
    "lift_shadows": "Lighten shadows: 0 not at all, 1 up to threefold.",
    "white_balance": "Remove the remaining colour cast: 0 none of it, 1 all.",
}


@dataclass(frozen=True)
class Controls:
    """Values for `CONTROLS`, each from 0 (the model's result) to 1."""

    protect_sky: float = 0.0
    lift_shadows: float = 0.0
    white_balance: float = 0.0

    def __post_init__(self) -> None:
        """Raises UnhazeError unless all are numbers from 0 to 1."""
        for name, value in asdict(self).items():
            number = not isinstance(value, bool) and isinstance(value, Real)
            if not number or not 0 <= float(value) <= 1:
                raise UnhazeError(f"{name} is {value!r}; expected 0 (none) to 1 (all of it)")


AS_MODEL = Controls()
