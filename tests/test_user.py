"""Users and their credits, through HTTP: one test for each outcome."""

from tests.api import Api


async def test_the_first_registration_grants_the_sign_up_credits(api: Api) -> None:
    """The first registration grants the sign-up credits, as the ledger's first entry."""
    registered = await api.mutate("registerUser", name="Ann")
    assert registered["__typename"] == "RegisterUserSuccess"
    assert (registered["user"]["credits"], registered["user"]["name"]) == (10, "Ann")
    assert (registered["entry"]["number"], registered["entry"]["kind"], registered["entry"]["amount"]) == (
        1,
        "SIGNUP",
        10,
    )
    assert registered["replayed"] is False
