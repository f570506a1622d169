"""`manage.py administrator`: make an administrator and their second factor, from outside the site."""

from __future__ import annotations

import secrets
import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction


class Command(BaseCommand):
    """For the first administrator, whom nobody can invite, and for one who has lost their second factor."""

    help = (
        "Makes an administrator with a new password and a new second factor, or gives an existing one new ones. "
        "Both are printed once, to standard output, and stored nowhere in clear."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Whom, and what of theirs to renew."""
        parser.add_argument("email", help="The administrator's e-mail address.")
        parser.add_argument(
            "--password-stdin", action="store_true", help="Read the password from standard input instead of making one."
        )
        parser.add_argument(
            "--second-factor-only", action="store_true", help="Keep the password of an existing administrator."
        )
        parser.add_argument(
            "--group",
            action="append",
            default=[],
            metavar="NAME",
            help="Put them in this group too: inspector, auditor or operator. Without one, not even a superuser "
            "may change anybody's data on the site. May be given several times.",
        )
        parser.add_argument("--not-superuser", action="store_true", help="Let them do no more than their groups may.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make or renew, all or nothing."""
        from django.contrib.auth.models import Group
        from django_otp.plugins.otp_totp.models import TOTPDevice, default_key

        from accounts.models import User
        from rupaya.security.views import new_device, secret_of

        email: str = options["email"]
        keep_password: bool = options["second_factor_only"]
        groups = list(Group.objects.filter(name__in=options["group"]))
        if unknown := sorted(set(options["group"]) - {group.name for group in groups}):
            known = ", ".join(Group.objects.order_by("name").values_list("name", flat=True)) or "none: migrate first"
            raise CommandError(f"There is no group {', '.join(unknown)}. There are: {known}. Nothing was changed.")
        with transaction.atomic():
            user = User.objects.filter(email__iexact=email).select_for_update().first()
            password = ""
            if keep_password:
                if user is None or not (user.is_staff and user.is_active):
                    raise CommandError(f"{email} is no active member of staff, so there is nothing to renew.")
            else:
                password = sys.stdin.readline().rstrip("\n") if options["password_stdin"] else secrets.token_urlsafe(18)
                try:
                    validate_password(password, user)
                    if user is None:
                        user = User.objects.create_superuser(email=email, password=password)
                    else:
                        user.is_staff = user.is_superuser = True
                        user.set_password(password)
                except (ValidationError, ValueError) as error:
                    raise CommandError("; ".join(getattr(error, "messages", [str(error)]))) from None
            user.is_superuser = user.is_superuser and not options["not_superuser"]
            user.save()
            user.groups.add(*groups)
            TOTPDevice.objects.filter(user=user).delete()
            device = new_device(user, default_key())
            device.save()
        self.stdout.write(f"Administrator: {user.email}")
        if password and not options["password_stdin"]:
            self.stdout.write(f"Password: {password}")
        self.stdout.write(f"Second factor: {device.config_url}")
        self.stdout.write(f"Secret to type into an authenticator app: {secret_of(device.config_url)}")
