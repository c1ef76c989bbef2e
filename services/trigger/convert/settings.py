"""Settings of a workspace: the message and the value."""

from beckon.trigger.v1.settings_service_pb2 import Settings as Message

from services.trigger.convert.times import to_timestamp
from services.trigger.model import Settings, StoredSettings


def to_message(stored: StoredSettings) -> Message:
    """Return settings as callers see them."""
    message = Message(
        name=f"workspaces/{stored.workspace}/settings",
        time_zone=stored.settings.time_zone,
        holdout_percent=stored.settings.holdout_percent,
        holdout_salt=stored.settings.holdout_salt,
        etag=str(stored.revision),
    )
    if stored.update_time is not None:
        message.update_time.CopyFrom(to_timestamp(stored.update_time))
    return message


def to_settings(message: Message) -> Settings:
    """Return what a caller wants to hold."""
    return Settings(
        time_zone=message.time_zone,
        holdout_percent=message.holdout_percent,
        holdout_salt=message.holdout_salt,
    )
