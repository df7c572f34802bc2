"""The jobs that workers do, the queue of each, and which worker does what."""

ASSESS = "assessments.assess"
EXPLAIN = "explanations.explain"
REPRODUCE = "reproductions.reproduce"
ADMINISTER = "administration.administer"
"""Whatever administrators ask for that takes minutes."""
TRAIN = "training.train"

QUEUES = {
    ASSESS: "triage",
    EXPLAIN: "explanations",
    REPRODUCE: "reproductions",
    ADMINISTER: "administration",
    TRAIN: "training",
}
"""Each job has a queue of its own, so that none waits behind another kind."""

WORKERS = {
    "triage": (ASSESS, EXPLAIN, REPRODUCE),
    "administration": (ADMINISTER,),
    "training": (TRAIN,),
}
"""What each worker does. Cases have one of their own."""
