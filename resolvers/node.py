"""Objects by their global ids."""

import asyncio
from typing import Annotated

import strawberry

from resolvers import objects
from resolvers.context import Context, Info
from resolvers.rules import Access, admit, sees
from schema.error import RequestError
from schema.limits import NODES_MAX
from schema.node import EntryKey, EventKey, Node, UserKey, VideoKey, decode_id


async def node(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Any object's id.")]
) -> Node | None:
    return await _node(info.context, admit(info), id)


async def nodes(
    info: Info,
    ids: Annotated[list[strawberry.ID], strawberry.argument(description=f"Ids of any objects, at most {NODES_MAX}.")],
) -> list[Node | None]:
    access = admit(info)
    if len(ids) > NODES_MAX:
        raise RequestError("BAD_USER_INPUT", f"`ids` must have at most {NODES_MAX}, and has {len(ids)}.")
    return list(await asyncio.gather(*(_node(info.context, access, wanted) for wanted in ids)))


async def _node(context: Context, access: Access, id: str) -> Node | None:
    """Find an object under the rule of its type's root field. Unknown ids and other users' objects are both null."""
    loaders = context.loaders
    match decode_id(id):
        case UserKey(user_id) if sees(access, "user", user_id):
            user = await loaders.user(user_id)
            return user and objects.user(user)
        case VideoKey(wallet_id) as key if sees(access, "videoData", wallet_id):
            video = await loaders.video_data(key)
            return video and objects.video_data(video)
        case EntryKey(wallet_id) as key if sees(access, "user", wallet_id):
            entry = await loaders.credit_entry(key)
            return entry and objects.credit_entry(entry)
        case EventKey(wallet_id) as key if sees(access, "videoData", wallet_id):
            event = await loaders.video_event(key)
            return event and objects.video_event(event)
        case _:
            return None
