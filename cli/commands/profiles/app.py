"""The group that the commands about people belong to, and what they share."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.session import Session

if TYPE_CHECKING:
    from beckon.profile.v1.erasure_service_pb2_grpc import ErasureServiceAsyncStub
    from beckon.profile.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub
    from beckon.profile.v1.profile_service_pb2_grpc import ProfileServiceAsyncStub

app = typer.Typer(no_args_is_help=True, help="Profiles: people as we know them.")

ProfileArgument = Annotated[str, typer.Argument(help="Id or name.")]


async def profiles_stub(session: Session) -> "ProfileServiceAsyncStub":
    """Return the way to who keeps profiles."""
    from beckon.profile.v1.profile_service_pb2_grpc import ProfileServiceStub

    return ProfileServiceStub(await session.channel("profile"))


async def identities_stub(session: Session) -> "IdentityServiceAsyncStub":
    """Return the way to who unites them."""
    from beckon.profile.v1.identity_service_pb2_grpc import IdentityServiceStub

    return IdentityServiceStub(await session.channel("profile"))


async def erasures_stub(session: Session) -> "ErasureServiceAsyncStub":
    """Return the way to who erases them."""
    from beckon.profile.v1.erasure_service_pb2_grpc import ErasureServiceStub

    return ErasureServiceStub(await session.channel("profile"))
