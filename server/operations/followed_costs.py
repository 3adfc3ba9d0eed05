"""A bound on what one user follows live, since all of it is read and shown again whenever it changes."""

from collections import Counter
from uuid import UUID

from resolvers.identity import Identity, Role
from schema.error import RequestError

# In values of the answers, as the limit on a document's cost counts them; the same followed twice counts once.
FOLLOWED_COST_MAX = 20_000
# A value takes 7 to 30 µs. With so long a rest between two events for each value that its user follows, all that one
# user follows takes less than a third of the CPU, however fast it changes.
REST_SECONDS_PER_VALUE = 0.0001


class FollowedCosts:
    """What each USER follows now. WORKER and ADMIN are no strangers: they are not held to a limit."""

    def __init__(self) -> None:
        self._costs: Counter[UUID] = Counter()

    def add(self, identity: Identity, cost: int) -> None:
        """Count what is followed from now on; LIMIT_EXCEEDED where that is too much for a USER."""
        followed = self._costs[identity.user_id] + cost
        if identity.role is Role.USER and followed > FOLLOWED_COST_MAX:
            raise RequestError(
                "LIMIT_EXCEEDED",
                f"All that you follow at once has {followed:,} values, and at most {FOLLOWED_COST_MAX:,} are allowed: "
                "end a subscription, or select less.",
                limit="followedCost",
                maximum=FOLLOWED_COST_MAX,
                value=followed,
            )
        self._costs[identity.user_id] = followed

    def remove(self, identity: Identity, cost: int) -> None:
        """Count it no more."""
        self._costs[identity.user_id] -= cost
        if not self._costs[identity.user_id]:
            del self._costs[identity.user_id]

    def rest_seconds(self, identity: Identity) -> float:
        """Return the rest between two events of any subscription of the user."""
        return self._costs[identity.user_id] * REST_SECONDS_PER_VALUE
