"""Having cases read again, several at once."""

from collections.abc import Collection

from webapp.accounts.models import User
from webapp.cases.queries import get_case
from webapp.errors import Conflict, NotFound
from webapp.triage.services import read_again


def read_all_again(*, actor: User, case_ids: Collection[int]) -> int:
    """Have cases read by the model that serves today; says how many are. One that is not the
    actor's, or that was decided on or read again meanwhile, does not keep the others from it."""
    count = 0
    for case_id in sorted(case_ids):
        try:
            read_again(actor=actor, case=get_case(actor=actor, case_id=case_id))
        except (Conflict, NotFound):
            continue
        count += 1
    return count
