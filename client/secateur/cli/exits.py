"""Exit codes: the one place."""

DONE = 0
REFUSED = 1
USAGE = 2
GOAL_MISSED = 3
AWAY = 4
INTERRUPTED = 130
EXPLAINED = (
    "Exit codes: 0 done; 1 refused by the service, or the job failed or was cancelled; 2 wrong usage; "
    "3 done, but the goal was not met; 4 the service does not answer; 130 interrupted (the job goes on)."
)
