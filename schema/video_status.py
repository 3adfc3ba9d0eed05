"""The stages of a video's life."""

from enum import Enum

import strawberry


@strawberry.enum(
    description="Where a video is in its life. Moves go forward, in this order, and may skip stages; any but COMPLETED "
    "may end in FAILED or CANCELED, which gives the credits back. Out of those only `retryVideoData` leads, to QUEUED."
)
class VideoStatus(Enum):
    QUEUED = strawberry.enum_value("QUEUED", description="Created and charged; generation has not begun.")
    GENERATING_AUDIO = strawberry.enum_value("GENERATING_AUDIO", description="The voice is being generated.")
    GENERATING_CAPTIONS = strawberry.enum_value("GENERATING_CAPTIONS", description="The captions are being generated.")
    GENERATING_IMAGE_PROMPTS = strawberry.enum_value(
        "GENERATING_IMAGE_PROMPTS", description="The prompts for the images are being generated."
    )
    GENERATING_IMAGES = strawberry.enum_value("GENERATING_IMAGES", description="The images are being generated.")
    READY = strawberry.enum_value("READY", description="Everything is there that rendering needs.")
    RENDER_QUEUED = strawberry.enum_value("RENDER_QUEUED", description="Waits in the render queue.")
    RENDERING = strawberry.enum_value("RENDERING", description="Is being rendered: see `renderProgress`.")
    COMPLETED = strawberry.enum_value("COMPLETED", description="Done: see `downloadUrl`. Final.")
    FAILED = strawberry.enum_value("FAILED", description="Did not succeed; the credits were given back.")
    CANCELED = strawberry.enum_value("CANCELED", description="Was called off; the credits were given back.")
