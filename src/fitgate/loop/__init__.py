"""The way back to training: fit, judge, improve, and fit again.

Example:
    def build(round, report):
        lr = 0.1 if report is None else 0.1 / 2**round
        return trainer(), Net(lr), data

    fitgate.fit_until_deployed(build, max_rounds=5)
"""

from fitgate.loop._drive import Build, fit_until_deployed
from fitgate.loop._rounds import Round, Rounds

__all__ = ["Build", "Round", "Rounds", "fit_until_deployed"]
