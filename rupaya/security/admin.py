"""What the libraries register and this admin site does not show: it changes nothing, and shows no secret."""

from django.contrib import admin
from django_otp.plugins.otp_totp import admin as registered  # noqa: F401 - registers what is taken back here
from django_otp.plugins.otp_totp.models import TOTPDevice

admin.site.unregister(TOTPDevice)
