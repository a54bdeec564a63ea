"""The phases of a job, and what somebody who watches may expect of each. Importable without torch."""

from typing import Literal

Phase = Literal[
    "import", "baseline", "admm", "prune", "retrain", "quantize", "remove", "pack", "verify", "measure", "report"
]
PHASES: dict[Phase, str] = {
    "import": "The model becomes a network that can be trained, and the data set is read.",
    "baseline": "The model is measured as it came: everything later is held against this.",
    "admm": "Weights are pulled towards zero while the net goes on learning. Accuracy of the pruned net starts low and "
    "rises round by round; the accuracy of the weights as they are may dip. Both are normal.",
    "prune": "The weights that ADMM pulled down are set to zero. Accuracy dips here; retraining mends it.",
    "retrain": "The weights that are left are trained around the zeros. Most of what was lost comes back in the first "
    "rounds.",
    "quantize": "The weights that are left are drawn to few levels. Accuracy dips and recovers as it did before.",
    "remove": "Filters and neurons that do nothing any more leave the graph, and layers are timed in several forms.",
    "pack": "The weights are encoded in fewer bytes.",
    "verify": "The file is opened again and held against the trained net.",
    "measure": "Accuracy on the test split, sizes and times are taken from the very files that you will get.",
    "report": "The report is written.",
}
