"""What administrators ask for and a worker does.

It is apart from the jobs, which the processes that read cases load too: those need nothing of what
is imported here.
"""

from webapp.worker import comparing, installing, registering, sharing

STEPS = (installing.step, registering.step, comparing.step, sharing.step)
"""Each does one thing that waits, and says whether there was any."""
