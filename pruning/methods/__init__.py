"""Published methods, one a file. METHODS[plan.method](problem, resume) yields a Round after each round."""

from pruning.methods.direct import direct

METHODS = {"direct": direct}
