"""`beckon profiles set`: writing down what is known of somebody."""

import json
from typing import Annotated, Any

import typer

from cli.commands.profiles.app import ProfileArgument, app, profiles_stub
from cli.commands.profiles.show import write_profile
from cli.problems import usage
from cli.session import Session, command


@command(
    app,
    "set",
    examples="""
    beckon profiles set ana --email ana@example.com --time-zone Europe/Lisbon first_name=Ana
    beckon profiles set ana tier=gold visits:=3 nickname:=null
    """,
)
async def set_(
    session: Session,
    profile: ProfileArgument,
    attributes: Annotated[
        list[str] | None,
        typer.Argument(help="`key=text` or `key:=json`; `key:=null` takes it away."),
    ] = None,
    *,
    email: Annotated[str | None, typer.Option(help="Where e-mail goes; '' for nowhere.")] = None,
    phone: Annotated[str | None, typer.Option(help="E.164: +4917012345.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="IANA zone: Europe/Berlin.")] = None,
    locale: Annotated[str | None, typer.Option(help="BCP 47 tag: pt-BR.")] = None,
) -> None:
    """Set what is known of a person; what is not named stays as it is."""
    from beckon.profile.v1 import profile_service_pb2 as pb

    fields = {"email": email, "phone": phone, "time_zone": time_zone, "locale": locale}
    given = {field: text for field, text in fields.items() if text is not None}
    changes = parse_attributes(attributes or [])
    if not given and not changes:
        raise usage("nothing to set", hint="`beckon profiles set --help` shows how")
    wanted = pb.Profile(name=session.name("profiles", profile), **given)  # type: ignore[arg-type]
    wanted.attributes.update({key: value for key, value in changes.items() if value is not None})
    request = pb.UpdateProfileRequest(profile=wanted, allow_missing=True)
    request.update_mask.paths.extend([*given, *(f"attributes.{key}" for key in changes)])
    write_profile(session, await (await profiles_stub(session)).UpdateProfile(request))


def parse_attributes(pairs: list[str]) -> dict[str, Any]:
    """Read `key=text` and `key:=json`."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.removesuffix(":"):
            raise usage(f"{pair!r} sets nothing", hint="expected key=text or key:=json")
        if not key.endswith(":"):
            found[key] = text
            continue
        try:
            found[key.removesuffix(":")] = json.loads(text)
        except ValueError as error:
            raise usage(
                f"{pair!r}: {error}", hint='text needs quotes in JSON: key:="text"'
            ) from error
    return found
