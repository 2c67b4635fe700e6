"""SKAO's own score of an SDC1 catalogue against itself: ``python sdc1_score.py FILE`` prints JSON.

It runs in an environment of its own, because ska-sdc wants an older pandas and setuptools; nothing here is
imported.
"""

import json
import sys

import pandas as pd
from ska_sdc.sdc1.dc_defns import CAT_COLUMNS
from ska_sdc.sdc1.sdc1_scorer import Sdc1Scorer

rows = pd.read_csv(sys.argv[1], sep=r"\s+", names=CAT_COLUMNS)
scores = [Sdc1Scorer(rows.copy(), rows.copy(), 1400).run(mode=mode) for mode in (0, 1)]
print(
    json.dumps([{"value": score.value, "n_match": score.n_match, "n_det": score.n_det} for score in scores])
)
