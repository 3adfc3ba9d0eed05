"""Wallets: what every mutation of credits answers with."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class WalletRow(NamedTuple):
    """A wallet as it stands in the table. A user's own wallet has the user's id."""

    wallet_id: UUID
    credits: int
    version: int
    first_purchased_at: datetime | None
