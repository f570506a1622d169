"""`manage.py administrator`: make an administrator and their second factor, from outside the site."""

from __future__ import annotations

import re
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
        "Makes an administrator with a new password, or gives an existing one a new one; they enrol a second factor "
        "when they next sign in. A password that it makes is printed once, to standard output. In a task that is a "
        "log: give it a hash there."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Whom, and what of theirs to renew."""
        parser.add_argument("email", help="The administrator's e-mail address.")
        parser.add_argument(
            "--password-stdin", action="store_true", help="Read the password from standard input instead of making one."
        )
        parser.add_argument(
            "--password-hash",
            metavar="BCRYPT",
            help="The password's bcrypt hash, made elsewhere: then no log ever has anything that signs in.",
        )
        parser.add_argument(
            "--print-second-factor",
            action="store_true",
            help="Make the second factor here and print its secret, for somebody at a terminal.",
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
            elif options["password_hash"]:
                user = self._with_hash(user, email, options["password_hash"])
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
            if options["print_second_factor"]:
                device.save()
        self.stdout.write(f"Administrator: {user.email}")
        if password and not options["password_stdin"]:
            self.stdout.write(f"Password: {password}")
        if not options["print_second_factor"]:
            self.stdout.write(
                "Second factor: the site shows it at the next sign-in, to anyone who knows the password. Enrol now."
            )
            return
        self.stdout.write(f"Second factor: {device.config_url}")
        self.stdout.write(f"Secret to type into an authenticator app: {secret_of(device.config_url)}")

    @staticmethod
    def _with_hash(user: Any, email: str, password_hash: str) -> Any:
        """The administrator, existing or new, with a password that only its owner knows."""
        from accounts.fields import BCRYPT_PATTERN, BCRYPT_PREFIX
        from accounts.models import User

        if not re.fullmatch(BCRYPT_PATTERN, password_hash):
            raise CommandError("This is no bcrypt hash, such as $2b$12$… with 53 more characters. Nothing was changed.")
        if user is None:
            try:
                user = User.objects.create_superuser(email=email, password=secrets.token_urlsafe(32))
            except (ValidationError, ValueError) as error:
                raise CommandError("; ".join(getattr(error, "messages", [str(error)]))) from None
        user.is_staff = user.is_superuser = True
        user.password = f"{BCRYPT_PREFIX}{password_hash}"
        return user
