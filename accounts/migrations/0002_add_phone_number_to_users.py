from django.db import migrations, models

import accounts.fields


class Migration(migrations.Migration):
    """A user's phone number, in E.164 form, and whether it is proved to be theirs."""

    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="phone_number",
            field=accounts.fields.E164PhoneNumberField(blank=True, max_length=20, null=True),
        ),
        migrations.AddField(
            model_name="user",
            name="phone_verified",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                fields=("phone_number",),
                name="users_phone_number_unique",
                violation_error_message="A user with this phone number already exists.",
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("phone_number__regex", r"^\+[1-9][0-9]{1,14}$")), name="users_phone_number_check"
            ),
        ),
        migrations.AddIndex(
            model_name="user",
            index=models.Index(fields=["phone_number"], name="idx_users_phone"),
        ),
    ]
